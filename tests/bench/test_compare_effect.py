"""Tests of the statistics of bench.compare: against enumeration, scipy and simulated launches."""

import math
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu, rankdata

from bench.compare.__main__ import ALPHA
from bench.compare.matching import Pair
from bench.compare.metrics import METRICS
from bench.compare.verdict import (
    EXACT,
    UNSHOWN,
    Verdict,
    depth,
    effect,
    holm,
    judge,
    launches_for,
    launches_to_find,
    least_p,
    p_value,
)

SPREAD_OF_FIVE = (0.99, 0.995, 1.0, 1.005, 1.01)
SCATTER = 0.02
"""Standard deviation of the logarithm of launches' median steps on an idle machine; repeated runs
of one case had 0.008 to 0.03. On a busy machine one in ten was an outlier of tens of percent."""
Values = NDArray[np.float64]


def pair(a: Values, b: Values, metric: str = "step_ms", larger: bool = False) -> Pair:
    return Pair(METRICS[metric], "case", {}, larger, a, b)


def verdict(
    a: Values, b: Values, metric: str = "step_ms", larger: bool = False, least: float | None = None
) -> Verdict:
    return judge([pair(a, b, metric, larger)], [effect(a, b, ALPHA)], ALPHA, least)[0]


def launches(
    rng: np.random.Generator, middle: float, n: int, scatter: float = SCATTER, outliers: float = 0
) -> Values:
    longer = np.where(rng.random(n) < outliers, 1 + rng.exponential(0.4, n), 1)
    return middle * np.exp(rng.normal(0, scatter, n)) * longer


@pytest.mark.parametrize(("n", "m"), [(1, 1), (3, 5), (5, 5), (10, 7), (30, 30)])
def test_without_ties_p_equals_scipys_exact_value(n: int, m: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        a, b = rng.random(n), rng.random(m) + 0.3
        expected = mannwhitneyu(a, b, method="exact").pvalue
        assert p_value(a, b) == pytest.approx(expected, rel=1e-9)


def test_with_ties_and_misses_p_equals_an_enumeration() -> None:
    rng = np.random.default_rng(1)
    for _ in range(10):
        both = rng.integers(1, 4, 9).astype(float)
        both[both == 3] = math.inf
        ranks = rankdata(both)
        sums = np.array([ranks[list(x)].sum() for x in combinations(range(9), 4)])
        w = ranks[:4].sum()
        expected = min(1.0, 2 * min((sums <= w).mean(), (sums >= w).mean()))
        assert p_value(both[:4], both[4:]) == pytest.approx(expected, rel=1e-9)


def test_the_smallest_p_is_that_of_disjoint_sides() -> None:
    for n, m in ((3, 3), (5, 5), (4, 9)):
        a, b = np.arange(1.0, n + 1), np.arange(100.0, 100 + m)
        assert p_value(a, b) == pytest.approx(least_p(n, m), rel=1e-9)
    assert launches_for(0.01) == 5  # 2 of C(10, 5) = 252 ways; with 4 and 4 it is 2 of 70


def test_the_interval_contains_1_if_and_only_if_no_difference_is_shown() -> None:
    rng = np.random.default_rng(2)
    shown = 0
    for _ in range(200):
        n, m = rng.integers(5, 12, 2)
        a, b = launches(rng, 1, n), launches(rng, 1.03, m)
        result = effect(a, b, ALPHA)
        assert (result.p <= ALPHA) == (not result.low <= 1 <= result.high)
        assert result.low <= result.ratio <= result.high
        shown += result.p <= ALPHA
    assert 20 < shown < 180


def test_the_interval_has_its_nominal_coverage() -> None:
    rng = np.random.default_rng(3)
    result = [effect(launches(rng, 1, 8), launches(rng, 1.5, 8), 0.1) for _ in range(1000)]
    coverage = sum(x.low <= 1.5 <= x.high for x in result) / len(result)
    # at least 90 % by construction, less with the next k; three standard deviations are 3 %
    assert 0.87 < coverage < 0.96


def test_the_normal_approximation_continues_the_exact_distribution() -> None:
    rng = np.random.default_rng(4)
    n = EXACT // 2
    a, b = launches(rng, 1, n + 1), launches(rng, 1.01, n + 1)
    less, more = effect(a[:n], b[:n], ALPHA), effect(a, b, ALPHA)
    for x, y in ((less.low, more.low), (less.high, more.high), (less.ratio, more.ratio)):
        assert x == pytest.approx(y, abs=0.003)
    assert less.p == pytest.approx(more.p, rel=0.5)
    parts = [depth(x, x, ALPHA) / x**2 for x in (n, n + 1)]
    assert parts[0] == pytest.approx(parts[1], rel=0.02)
    same = np.ones(n + 1)
    assert effect(same, same, ALPHA).p == 1


def test_ratio_is_the_median_of_all_ratios_and_misses_are_infinite() -> None:
    a, b = np.array([1.0, 2.0, 4.0]), np.array([3.0, 8.0])
    assert effect(a, b, ALPHA).ratio == pytest.approx(math.sqrt(2 * 3))  # .75 1.5 2 3 4 8
    inf = math.inf
    some, all_ = np.array([5.0, 6.0, 7.0, inf, inf]), np.full(5, inf)
    assert effect(a, all_, ALPHA).ratio == inf
    assert effect(all_, a, ALPHA).ratio == 0
    assert effect(all_, all_, ALPHA).ratio == 1
    assert effect(some, some, ALPHA).ratio == 1
    none = effect(some, all_, 0.5)
    assert (none.ratio, none.finds) == (inf, inf)
    assert effect(np.zeros(3), np.zeros(3), ALPHA).ratio == 1
    assert effect(np.array([0, inf]), np.array([5.0]), ALPHA).ratio == 1  # infinity and 0
    with pytest.raises(ValueError, match="negative"):
        effect(-a, b, ALPHA)


@pytest.mark.parametrize(("outliers", "n"), [(0.0, 10), (0.1, 20)])
def test_false_alarms_are_rare_and_five_percent_is_detected(outliers: float, n: int) -> None:
    rng = np.random.default_rng(5)
    rounds = 400
    alarms = result = 0
    for _ in range(rounds):
        base, again, slow = (launches(rng, 3 * part, n, outliers=outliers) for part in (1, 1, 1.05))
        same = verdict(base, again)
        alarms += same.worse or same.better
        result += verdict(base, slow).worse
    assert alarms <= 0.01 * rounds
    assert result >= 0.95 * rounds


@pytest.mark.parametrize(("scatter", "n"), [(0.015, 6), (0.02, 9), (0.03, 16), (0.04, 27)])
def test_launches_of_the_help_text_detect_five_percent(scatter: float, n: int) -> None:
    rng = np.random.default_rng(6)
    rounds = 300
    pairs = [(launches(rng, 1, n, scatter), launches(rng, 1.05, n, scatter)) for _ in range(rounds)]
    result = sum(verdict(a, b).worse for a, b in pairs)
    assert 0.93 * rounds <= result < 0.995 * rounds  # 95 % within the sampling error of 300 rounds
    estimates = [launches_to_find(effect(a, b, ALPHA), 0.05, ALPHA) for a, b in pairs]
    assert np.median(estimates) == pytest.approx(n, rel=0.2)


def test_differences_below_the_smallest_that_counts_are_none() -> None:
    rng = np.random.default_rng(7)
    a, b = launches(rng, 1, 10, 0.0005), launches(rng, 1.005, 10, 0.0005)
    assert verdict(a, b).text == "differs by less than 2 %"
    assert verdict(b, a).text == "differs by less than 2 %"
    assert verdict(a, b, least=0.001).text == "slower"
    assert verdict(b, a, least=0.001).text == "faster"
    assert verdict(a, b, "metric", larger=True).text == "better"
    assert verdict(a, b, "metric", larger=False).worse


def test_a_case_is_not_worse_if_its_interval_excludes_the_margin() -> None:
    a = np.array(SPREAD_OF_FIVE)
    for ratio, margin, larger, not_worse, decided in (
        (1.0, 0.05, False, True, True),  # the 99 % interval is [0.98, 1.02]
        (1.0, 0.015, False, False, False),
        (1.04, 0.05, False, False, True),  # slower by 4 %: decided
        (0.9, 0.015, False, True, True),
        (0.9, 0.05, True, False, True),
        (1.1, 0.05, True, True, True),
        (1.015, 0.05, False, True, True),
    ):
        cases = [pair(a, ratio * a, "metric" if larger else "step_ms", larger)]
        (result,) = judge(cases, [effect(a, ratio * a, ALPHA)], ALPHA, margin=margin)
        assert (result.not_worse, result.decided) == (not_worse, decided), (ratio, margin, larger)
    few = pair(a[:3], 0.5 * a[:3])
    (result,) = judge([few], [effect(few.a, few.b, ALPHA)], ALPHA)
    assert (result.not_worse, result.decided) == (False, False)


def test_too_few_launches_are_distinct_from_no_difference() -> None:
    a, b = np.array([1.0, 1.1, 1.2]), np.array([2.0, 2.1, 2.2])
    few = verdict(a, b)
    assert (few.text, few.worse) == ("too few launches", False)
    assert few.few.endswith("3 and 3 can never show p < 0.01; 5 and 5 can")
    five = pair(np.arange(1.0, 6), np.arange(11.0, 16))
    again = judge([five, five], [effect(x.a, x.b, ALPHA) for x in (five, five)], ALPHA)
    assert all("5 and 5 can never show p < 0.01 in 2 cases; 6 and 6" in x.few for x in again)
    same = pair(np.ones(5), np.ones(5))
    assert judge([same], [effect(same.a, same.b, ALPHA)], ALPHA)[0].text == UNSHOWN


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
