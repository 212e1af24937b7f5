"""The interval of the median: whether it holds what it promises."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.results.statistics import median_interval

LAWS: dict[str, Callable[[np.random.Generator, int], NDArray[np.float64]]] = {
    "normal": lambda rng, n: rng.normal(0, 1, n),
    "exponential": lambda rng, n: rng.exponential(1, n) - math.log(2),
    "lognormal": lambda rng, n: rng.lognormal(0, 2, n) - 1,
}
"""Distributions whose median is 0."""


def promised(n: int) -> float:
    """How often the interval holds the median of any continuous law, by the binomial."""
    _, lo, hi = median_interval(np.arange(1, n + 1))  # the ranks themselves
    held = sum(math.comb(n, k) for k in range(int(lo), int(hi)))
    return float(held / 2**n)


@pytest.mark.parametrize("n", [*range(9, 120), 400, 1000])
def test_the_ranks_hold_95_of_100_and_little_more(n: int) -> None:
    assert 0.95 < promised(n) < (0.999 if n < 20 else 0.99 if n < 100 else 0.98)
    median, lo, hi = median_interval(np.random.default_rng(0).permutation(n) + 1)
    assert (median, lo, hi) == (
        (n + 1) / 2,
        math.floor((n - 1.96 * math.sqrt(n)) / 2),
        math.ceil(1 + (n + 1.96 * math.sqrt(n)) / 2),
    )


@pytest.mark.parametrize("n", [10, 51, 400])
@pytest.mark.parametrize("law", LAWS)
def test_holds_the_true_median_as_often_as_promised(law: str, n: int) -> None:
    rng, samples = np.random.default_rng(n), 2000
    intervals = [median_interval(LAWS[law](rng, n)) for _ in range(samples)]
    held = sum(lo <= 0 <= hi for _, lo, hi in intervals) / samples
    share = promised(n)
    assert abs(held - share) < 5 * math.sqrt(share * (1 - share) / samples)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([7], (7, 7, 7)),
        ([3, 1], (2, 1, 3)),
        ([9, 1, 5, 3, 7], (5, 1, 9)),
        ([4] * 30, (4, 4, 4)),
        ([1] * 29 + [100], (1, 1, 1)),
        ([1] * 9 + [100], (1, 1, 100)),
    ],
)
def test_few_values_and_ties(values: list[int], expected: tuple[float, float, float]) -> None:
    assert median_interval(np.array(values)) == expected


def test_nothing_gives_nan() -> None:
    assert all(math.isnan(x) for x in median_interval(np.array([], np.int64)))


def test_the_values_are_left_in_their_order() -> None:
    values = np.array([3, 1, 2])
    median_interval(values)
    assert values.tolist() == [3, 1, 2]


@given(st.lists(st.integers(0, 2**60), min_size=1, max_size=200))
def test_lies_among_the_values_around_the_median(values: list[int]) -> None:
    median, lo, hi = median_interval(np.array(values))
    assert median == np.median(values)
    assert {lo, hi} <= {float(value) for value in values}
    assert lo <= median <= hi
