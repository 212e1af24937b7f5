"""Tables with both margins exact: nearest to the weights, and rounded to whole numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from partitions.sizes import apportion, dirichlet, log_gamma
from partitions.transport import COLDEST, divide_columns, fit, fit_logarithms, round_table

Table = NDArray[np.float64]
Margin = NDArray[np.int64]


def margins(
    parts: int, classes: int, rng: np.random.Generator, least: int = 1
) -> tuple[Margin, Margin]:
    """Draw uneven sizes and classes of one sum, with a minimum for all."""
    columns = rng.integers(least, 40, classes) + parts // classes + 1 - least
    return apportion(rng.random(parts) ** 4, int(columns.sum()), least), columns


def assert_rounds(plan: Table, rows: Margin, columns: Margin, rng: np.random.Generator) -> None:
    np.testing.assert_allclose(plan.sum(axis=1), rows, rtol=1e-9)
    np.testing.assert_allclose(plan.sum(axis=0), columns, rtol=1e-9)
    counts = round_table(plan, rows, columns, rng)
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts.sum(axis=1), rows)
    np.testing.assert_array_equal(counts.sum(axis=0), columns)
    # Up or down, from a number rounded to the grid.
    assert np.abs(counts - plan).max() <= 1 + 1 / (8 * plan.size)
    assert counts.min() >= 0


@settings(deadline=None, max_examples=40)
@given(
    parts=st.integers(1, 30),
    classes=st.integers(1, 30),
    exponent=st.floats(-14, 5),
    seed=st.integers(0, 2**20),
)
def test_both_margins_and_rounding_at_any_concentration(
    parts: int, classes: int, exponent: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = margins(parts, classes, rng, least=seed % 2)
    logs = log_gamma(10**exponent, (parts, classes), rng)
    assert_rounds(fit_logarithms(logs, rows, columns), rows, columns, rng)


@settings(deadline=None, max_examples=30)
@given(
    parts=st.integers(1, 25),
    classes=st.integers(1, 25),
    zeros=st.floats(0, 1),
    seed=st.integers(0, 2**20),
)
def test_weights_with_zeros_that_fit_no_margins(
    parts: int, classes: int, zeros: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = margins(parts, classes, rng)
    weights = rng.random((parts, classes)) * (rng.random((parts, classes)) >= zeros)
    weights[np.arange(parts), rng.integers(0, classes, parts)] = 1.0
    assert_rounds(fit(weights, rows, columns), rows, columns, rng)


@pytest.mark.parametrize(("parts", "classes"), [(20, 30), (60, 30)])
def test_chains_repair_the_rows_of_sparse_plans(parts: int, classes: int) -> None:
    """At this concentration, carrying remainders misses rows in a third of the plans."""
    for seed in range(30):
        rng = np.random.default_rng(seed)
        columns = rng.integers(2, 20, classes)
        rows = apportion(np.ones(parts), int(columns.sum()))
        plan = fit_logarithms(log_gamma(0.02, (parts, classes), rng), rows, columns)
        assert_rounds(plan, rows, columns, rng)


@pytest.mark.parametrize("alpha", [0.5, 2.0, 50.0])
@pytest.mark.parametrize(("parts", "classes"), [(4, 9), (9, 4), (1, 5), (5, 1)])
def test_the_fit_only_scales_rows_and_columns(alpha: float, parts: int, classes: int) -> None:
    """The nearest table in Kullback-Leibler divergence has this form, by Lagrange multipliers.

    With two margins, log(table / weights) is a number for each row plus a number for each column.
    """
    rng = np.random.default_rng(3)
    rows, columns = margins(parts, classes, rng)
    logs = log_gamma(alpha, (parts, classes), rng)
    scale = np.log(fit_logarithms(logs, rows, columns)) - logs
    # 1e-9 of the samples are spread without a fit: little even for an entry of 1e-4.
    np.testing.assert_allclose(scale - scale[:1] - scale[:, :1] + scale[0, 0], 0, atol=1e-3)


def test_the_fit_is_the_limit_of_balancing() -> None:
    """Against the alternation of Deming and Stephan, continued to convergence."""
    rng = np.random.default_rng(0)
    rows, columns = margins(12, 7, rng)
    weights = dirichlet(0.05, (12, 7), rng)
    table = weights.copy()
    for _ in range(5000):
        table *= (rows / table.sum(axis=1))[:, np.newaxis]
        table *= columns / table.sum(axis=0)
    np.testing.assert_allclose(fit(weights, rows, columns), table, atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_at_small_concentration_the_fit_is_an_assignment(seed: int) -> None:
    """At a concentration near 0 the fit maximises the sum of logarithms.

    In these units logarithms range over COLDEST, and entropy is at most n log C.
    """
    rng = np.random.default_rng(seed)
    logs = log_gamma(1e-9, (15, 15), rng)
    logs -= logs.max(axis=1, keepdims=True)
    logs *= COLDEST / -logs.min()
    tens = np.full(15, 10)
    best = 10 * logs[linear_sum_assignment(-logs)].sum()
    actual = (fit_logarithms(1e6 * logs, tens, tens) * logs).sum()
    assert best - 150 * np.log(15) <= actual <= best + 1e-4 * abs(best)


def test_a_table_with_these_margins_keeps_its_zeros() -> None:
    expected = np.array([[100, 0, 50], [0, 150, 0], [0, 50, 250]])
    rows, columns = expected.sum(axis=1), expected.sum(axis=0)
    plan = fit(expected / 7, rows, columns)
    for seed in range(20):
        counts = round_table(plan, rows, columns, np.random.default_rng(seed))
        np.testing.assert_array_equal(counts, expected)


def test_rounding_breaks_ties_at_random_and_by_the_rng_alone() -> None:
    """Halves of two classes: any two of four workers may get the first, in six ways."""
    plan, ones, twos = np.full((4, 2), 0.5), np.full(4, 1), np.full(2, 2)
    result = [round_table(plan, ones, twos, np.random.default_rng(seed)) for seed in range(60)]
    np.testing.assert_array_equal(
        result[3], round_table(plan, ones, twos, np.random.default_rng(3))
    )
    assert len({counts.tobytes() for counts in result}) == 6


def test_divided_columns_are_unbiased_and_rounded_by_less_than_one() -> None:
    weights, columns = np.array([[1.0, 0], [2, 1], [0, 3]]), np.array([10, 7])
    expected = weights / weights.sum(axis=0) * columns
    rng, total = np.random.default_rng(0), np.zeros_like(weights)
    for _ in range(1000):
        counts = divide_columns(weights, columns, rng)
        assert (np.abs(counts - expected) < 1).all()
        assert (counts.sum(axis=0) == columns).all()
        total += counts
    # A count has standard deviation 1/2 at most: 5 of those of the mean.
    np.testing.assert_allclose(total / 1000, expected, atol=5 * 0.5 / 1000**0.5)
