"""The tree over the workers and the schedule of recursive doubling, simulated without MPI."""

from itertools import pairwise

import numpy as np
import pytest

from algorithms.collectives.recursive_doubling import Round, schedule
from algorithms.collectives.tree import TreeSum, cover, span
from tests.helpers import Array


def bounds_of(total: int, p: int) -> list[int]:
    return [r * total // p for r in range(p + 1)]


def recursive_sum(rows: Array, total: int, level: int, index: int) -> Array | None:
    """The tree's sum by its definition: left child plus right child."""
    lo, hi = span(total, level, index)
    if hi - lo < 2:
        return rows[lo] if hi > lo else None
    left = recursive_sum(rows, total, level + 1, 2 * index)
    right = recursive_sum(rows, total, level + 1, 2 * index + 1)
    if left is None or right is None:
        return right if left is None else left
    return left + right


@pytest.mark.parametrize("total", [*range(1, 40), 64, 100, 257])
def test_tree_sum_is_the_recursive_sum_to_the_bit(total: int) -> None:
    rows = np.random.default_rng(total).standard_normal((total, 5)).astype(np.float32)
    out = np.empty(5, np.float32)
    TreeSum(total, (0, total), 5, rows.dtype)(rows, out)
    expected = recursive_sum(rows, total, 0, 0)
    assert expected is not None
    np.testing.assert_array_equal(out, expected)


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
def test_a_rank_of_a_power_of_two_hosts_one_node(total: int) -> None:
    for p in (1, 2, 4):
        bounds = bounds_of(total, p)
        for r in range(p):
            assert list(cover(total, bounds[r], bounds[r + 1])) == [(bounds[r], bounds[r + 1])]


@pytest.mark.parametrize("p", [*range(1, 34), 48, 64])
def test_every_rank_ends_with_the_tree_sum(p: int) -> None:
    for total in {p, p + 1, 2 * p, 3 * p + 1}:
        rows = np.random.default_rng(p).standard_normal((total, 3)).astype(np.float32)
        expected = np.empty(3, np.float32)
        TreeSum(total, (0, total), 3, rows.dtype)(rows, expected)
        for result in simulate(rows, p):
            np.testing.assert_array_equal(result, expected)


def simulate(rows: Array, p: int) -> list[Array]:
    """The result of every rank, played round by round: whoever's partner is ready, trades."""
    total = len(rows)
    bounds = bounds_of(total, p)
    plans = [schedule(r, bounds) for r in range(p)]
    parts: list[list[Array]] = []
    for spans, _, _ in plans:
        sums = [np.empty(3, np.float32) for _ in spans]
        for out, piece in zip(sums, spans, strict=True):
            TreeSum(total, piece, 3, rows.dtype)(rows[slice(*piece)], out)
        parts.append(sums)
    turn = [0] * p
    waiting = True
    while waiting:
        waiting = False
        for r in range(p):
            rounds = plans[r][1]
            if turn[r] == len(rounds) or rounds[turn[r]].partner < r:
                continue
            q = rounds[turn[r]].partner
            other = plans[q][1]
            if turn[q] < len(other) and other[turn[q]].partner == r:
                mine, theirs = rounds[turn[r]], other[turn[q]]
                assert (mine.sent, mine.received) == (theirs.received, theirs.sent)
                before = parts[r], parts[q]
                parts[r] = after(mine, before[0], before[1])
                parts[q] = after(theirs, before[1], before[0])
                turn[r] += 1
                turn[q] += 1
                waiting = True
    assert all(turn[r] == len(plans[r][1]) for r in range(p)), "deadlock"
    for r, (_, _, pair) in enumerate(plans):
        if pair is not None and r % 2 == 1:
            parts[r] = parts[pair]
    return [own[0] for own in parts]


def after(plan: Round, mine: list[Array], theirs: list[Array]) -> list[Array]:
    """The parts of a rank after a round."""
    assert plan.held == len(mine)
    bank = [part.copy() for part in mine + theirs[: plan.received]]
    for i, j in plan.adds:
        bank[i] += bank[j]
    if plan.kept is not None:
        return [bank[i] for i in plan.kept]
    merged = len(bank) - len(plan.adds) if plan.received else len(mine)
    return bank[:merged]
