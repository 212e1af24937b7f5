"""Tests of the intervals of medians and of their ratios: coverage and special values."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.results.statistics import Interval, median_interval, olympic_mean, ratio_interval

DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, int], NDArray[np.float64]]] = {
    "normal": lambda rng, n: rng.normal(0, 1, n),
    "exponential": lambda rng, n: rng.exponential(1, n) - math.log(2),
    "lognormal": lambda rng, n: rng.lognormal(0, 2, n) - 1,
}
"""Distributions with median 0."""


def coverage(n: int) -> float:
    """Return the coverage of the interval for any continuous distribution."""
    _, lo, hi = median_interval(np.arange(1, n + 1))  # the ranks themselves
    hits = sum(math.comb(n, k) for k in range(int(lo), int(hi)))
    return float(hits / 2**n)


@pytest.mark.parametrize("n", [*range(9, 120), 400, 1000])
def test_coverage_is_95_percent_and_little_more(n: int) -> None:
    assert 0.95 < coverage(n) < (0.999 if n < 20 else 0.99 if n < 100 else 0.98)
    median, lo, hi = median_interval(np.random.default_rng(0).permutation(n) + 1)
    assert (median, lo, hi) == (
        (n + 1) / 2,
        math.floor((n - 1.96 * math.sqrt(n)) / 2),
        math.ceil(1 + (n + 1.96 * math.sqrt(n)) / 2),
    )


@pytest.mark.parametrize(("law", "n"), list(zip(DISTRIBUTIONS, (10, 51, 400), strict=True)))
def test_simulated_coverage_equals_the_theory(law: str, n: int) -> None:
    rng, samples = np.random.default_rng(n), 2000
    intervals = [median_interval(DISTRIBUTIONS[law](rng, n)) for _ in range(samples)]
    hits = sum(lo <= 0 <= hi for _, lo, hi in intervals) / samples
    share = coverage(n)
    assert abs(hits - share) < 5 * math.sqrt(share * (1 - share) / samples)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([7], (7, 7, 7)),
        ([3, 1], (2, 1, 3)),
        ([9, 1, 5, 3, 7], (5, 1, 9)),
        ([4] * 30, (4, 4, 4)),
        ([1] * 29 + [100], (1, 1, 1)),
        ([1] * 9 + [100], (1, 1, 100)),
        ([5, 3, math.inf], (5, 3, math.inf)),
        ([math.inf, 3], (math.inf, 3, math.inf)),
        ([math.inf, 3, math.inf], (math.inf, 3, math.inf)),
        ([*range(1, 9), math.inf], (5, 1, math.inf)),
        ([*range(1, 12), math.inf], (6.5, 2, 11)),
        ([math.inf] * 20, (math.inf,) * 3),
    ],
)
def test_few_values_and_ties(values: list[float], expected: Interval) -> None:
    assert median_interval(np.array(values)) == expected


def test_median_of_no_values_is_nan() -> None:
    assert all(math.isnan(x) for x in median_interval(np.array([], np.int64)))


@pytest.mark.parametrize("n", [3, 9])
def test_nan_among_the_values_gives_nan(n: int) -> None:
    values = np.append(np.arange(1.0, n), math.nan)
    assert all(math.isnan(x) for x in (*median_interval(values), olympic_mean(values)))


def test_the_values_keep_their_order() -> None:
    values = np.array([3, 1, 2])
    median_interval(values)
    assert values.tolist() == [3, 1, 2]


@given(st.lists(st.integers(0, 2**60), min_size=1, max_size=200))
def test_ends_of_the_interval_are_values_around_the_median(values: list[int]) -> None:
    median, lo, hi = median_interval(np.array(values))
    assert median == np.median(values)
    assert {lo, hi} <= {float(value) for value in values}
    assert lo <= median <= hi


def test_ratio_by_hand() -> None:
    exact = (1.0, 1.0, 1.0)
    assert ratio_interval((2, 1, 4), exact) == pytest.approx((2, 1, 4))
    assert ratio_interval(exact, (2, 1, 4)) == pytest.approx((1 / 2, 1 / 4, 1))
    # both distances are log 2: added in quadrature log 2 times sqrt 2
    arm = 2 ** math.sqrt(2)
    assert ratio_interval((2, 1, 4), (2, 1, 4)) == pytest.approx((1, 1 / arm, arm))


@given(*(st.tuples(*[st.floats(0.01, 100)] * 3) for _ in range(2)), st.floats(0.1, 10))
def test_ratio_is_inverted_with_its_sides_and_scales_with_units(
    first: Interval, second: Interval, unit: float
) -> None:
    a, b = ((y, x, z) for x, y, z in map(sorted, (first, second)))
    ratio, low, high = ratio_interval(a, b)
    assert low <= ratio <= high
    assert ratio_interval(b, a) == pytest.approx((1 / ratio, 1 / high, 1 / low))
    scaled = ratio_interval((unit * a[0], unit * a[1], unit * a[2]), b)
    assert scaled == pytest.approx((unit * ratio, unit * low, unit * high))


def test_ratio_with_infinite_ends() -> None:
    inf = math.inf
    assert ratio_interval((5, 4, inf), (2, 1, 4)) == (2.5, 1, inf)
    assert ratio_interval((inf, 4, inf), (2, 1, 4)) == (inf, 1, inf)
    assert ratio_interval((5, 4, 8), (2, 1, inf)) == (2.5, 0, 8)
    assert ratio_interval((5, 4, 8), (inf, 2, inf)) == (0, 0, 4)
    assert math.isnan(ratio_interval((inf, 4, inf), (inf, 2, inf))[0])
    assert all(math.isnan(x) for x in ratio_interval((math.nan,) * 3, (1, 1, 1)))


@pytest.mark.parametrize(("n", "m"), [(6, 6), (8, 30), (40, 25)])
def test_ratio_interval_covers_the_true_ratio_in_95_of_100(n: int, m: int) -> None:
    rng, samples, hits = np.random.default_rng(n), 1000, 0
    for _ in range(samples):
        above, below = rng.lognormal(math.log(3), 0.3, n), rng.exponential(2, m)
        _, low, high = ratio_interval(median_interval(above), median_interval(below))
        hits += low <= 3 / (2 * math.log(2)) <= high
    assert 0.94 < hits / samples < 0.995


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2], math.nan),
        ([9, 1, 4], 4),
        ([2, 4, 6, 100, 0], 4),
        ([2, 4, 6, math.inf, 0], 4),
        ([2, 4, 6, math.inf, math.inf], math.inf),
    ],
)
def test_olympic_mean_drops_one_infinite_value(values: list[float], expected: float) -> None:
    assert olympic_mean(np.array(values)) == pytest.approx(expected, nan_ok=True)
