"""Tree sums over the workers, and recursive doubling in the same order, without MPI."""

from itertools import combinations, pairwise

import numpy as np
import pytest

from algorithms.collectives.recursive_doubling import RecursiveDoubling
from algorithms.wire.carrier import divide_in_place
from algorithms.wire.placement import Placement
from algorithms.wire.sums import SHORT, TreeSum, cover, span
from tests.algorithms.collectives_by_hand import simulate
from tests.helpers import Array


def recursive_sum(rows: Array, total: int, level: int, index: int) -> Array | None:
    """Return the sum of the tree by its definition: left child plus right child."""
    lo, hi = span(total, level, index)
    if hi - lo < 2:
        return rows[lo] if hi > lo else None
    left = recursive_sum(rows, total, level + 1, 2 * index)
    right = recursive_sum(rows, total, level + 1, 2 * index + 1)
    if left is None or right is None:
        return right if left is None else left
    return left + right


@pytest.mark.parametrize("d", [5, SHORT + 1])
@pytest.mark.parametrize("total", [*range(1, 40), 64, 100, 257])
def test_tree_sum_is_the_recursive_sum_to_the_bit(total: int, d: int) -> None:
    rows = np.random.default_rng(total).standard_normal((total, d)).astype(np.float32)
    out = np.empty(d, np.float32)
    TreeSum(total, (0, total), d, rows.dtype)(rows, out)
    expected = recursive_sum(rows, total, 0, 0)
    assert expected is not None
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("total", [1, 2, 3, 7, 12, 13, 29, 33])
def test_short_rows_of_some_workers_are_added_like_long_ones(total: int) -> None:
    rows = np.random.default_rng(total).standard_normal((total, SHORT + 1)).astype(np.float32)
    out, short = np.empty(SHORT + 1, np.float32), np.empty(3, np.float32)
    for lo, hi in combinations(range(total + 1), 2):
        TreeSum(total, (lo, hi), SHORT + 1, rows.dtype)(rows[lo:hi], out)
        TreeSum(total, (lo, hi), 3, rows.dtype)(rows[lo:hi, :3], short)
        np.testing.assert_array_equal(short, out[:3])


@pytest.mark.parametrize("total", [1, 2, 3, 7, 12, 64, 65])
def test_cover_tiles_any_interval(total: int) -> None:
    for lo in range(total):
        for hi in range(lo + 1, total + 1):
            pieces = list(cover(total, lo, hi))
            assert pieces[0][0] == lo
            assert pieces[-1][1] == hi
            assert all(a[1] == b[0] for a, b in pairwise(pieces))
            assert len(pieces) <= 2 * total.bit_length()


@pytest.mark.parametrize("total", [4, 5, 6, 7, 13, 16, 33, 100])
def test_each_of_a_power_of_two_ranks_hosts_one_node(total: int) -> None:
    for p in (1, 2, 4):
        placement = Placement.dealt(total, p)
        for r in range(p):
            assert list(cover(total, *placement.span(r))) == [placement.span(r)]


@pytest.mark.parametrize("p", [*range(1, 18), 24, 31, 32, 33])
def test_recursive_doubling_is_the_tree_sum_for_any_placement(p: int) -> None:
    d = 3
    for total in {p, p + 1, 2 * p, 3 * p + 1}:
        rows = np.random.default_rng(p).standard_normal((total, d)).astype(np.float32)
        expected = np.empty(d, np.float32)
        TreeSum(total, (0, total), d, rows.dtype)(rows, expected)
        plans = [RecursiveDoubling.schedule(r, Placement.dealt(total, p), d, 4) for r in range(p)]
        homes = [np.zeros(plan.home, rows.dtype) for plan in plans]
        for plan, home in zip(plans, homes, strict=True):
            for i, (lo, hi) in enumerate(plan.spans):
                out = home[i * d : (i + 1) * d]
                TreeSum(total, (lo, hi), d, rows.dtype)(rows[lo:hi], out)
        simulate(plans, homes)
        assert all(np.array_equal(home[:d], expected) for home in homes), total


@pytest.mark.parametrize("divisor", [1, 2, 3, 4, 5, 6, 7, 8, 48, 64, 100, 2**20, 2**20 + 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_divide_in_place_equals_division_to_the_bit(divisor: int, dtype: type) -> None:
    info = np.finfo(dtype)
    rng = np.random.default_rng(divisor)
    mantissas = rng.standard_normal(5000)
    x: Array = np.ldexp(mantissas, rng.integers(info.minexp - 20, info.maxexp - 3, 5000)).astype(
        dtype
    )
    x[:7] = 0, -0.0, np.inf, -np.inf, np.nan, info.max, info.smallest_subnormal
    expected = x / dtype(divisor)
    divide_in_place(x, divisor)
    np.testing.assert_array_equal(x.view(f"i{x.itemsize}"), expected.view(f"i{x.itemsize}"))
