"""Every schedule at every number of ranks, simulated in one process: sums, counts, structure."""

from itertools import pairwise
from math import ceil, log2

import numpy as np
import pytest

from algorithms.collectives import ALLREDUCES, double_binary_tree, rabenseifner, ring
from algorithms.collectives.shared_memory import add_up, add_up_and_share, blocks, share
from algorithms.collectives.torus import sides
from algorithms.wire.carrier import Scheduled
from algorithms.wire.schedule import (
    Op,
    Piece,
    Round,
    apart,
    even,
    start_times,
)
from tests.algorithms.collectives_by_hand import Vector, across_nodes, run, schedules

KINDS = {name: kind for name, kind in ALLREDUCES.items() if issubclass(kind, Scheduled)}
SIZES = [*range(1, 18), 31, 32, 33]
FEW_SIZES = [1, 2, 3, 5, 8, 13]
"""Numbers of ranks for further dtypes: schedules do not depend on the type of an element."""
LARGE = 10**6 + 3


def integers(p: int, d: int, dtype: str) -> Vector:
    return np.random.default_rng(d).integers(-99, 99, (p, d)).astype(dtype)


def lengths(p: int) -> list[int]:
    return sorted({0, 1, p - 1, p, p + 1, 1000} if p < 10 else {p - 1, p + 1, 100})


def in_shared_memory(rows: Vector) -> list[Vector]:
    """Return the vectors after the work of SharedMemory between its fences, on all ranks."""
    vectors = [row.copy() for row in rows]
    for r in range(len(rows)):
        add_up_and_share(blocks(vectors, r))
    return vectors


def in_two_steps(rows: Vector) -> list[Vector]:
    """Return the vectors after the work of Hierarchical inside a node, on all ranks."""
    vectors = [row.copy() for row in rows]
    for r in range(len(rows)):
        add_up(blocks(vectors, r))
    for r in range(len(rows)):
        share(blocks(vectors, r))
    return vectors


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("dtype", ["int64", "float32", "float64"])
def test_sums_integers_exactly_at_every_number_of_ranks(name: str, dtype: str) -> None:
    for p in SIZES if dtype == "float32" else FEW_SIZES:
        for d in lengths(p):
            rows = integers(p, d, dtype)
            total = rows.sum(0)
            assert all(np.array_equal(x, total) for x in run(KINDS[name], rows)), (p, d)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("p", [2, 3, 4, 7])
def test_sums_long_vectors_exactly(name: str, p: int) -> None:
    for dtype in ("float32", "int64") if p == 3 else ("float32",):
        rows = integers(p, LARGE, dtype)
        total = rows.sum(0)
        assert all(np.array_equal(x, total) for x in run(KINDS[name], rows)), dtype


@pytest.mark.parametrize("work", [in_shared_memory, in_two_steps])
@pytest.mark.parametrize("dtype", ["int64", "float32", "float64"])
def test_shared_memory_sums_exactly_at_every_number_of_ranks(work: object, dtype: str) -> None:
    assert callable(work)
    for p in SIZES if dtype == "float32" else FEW_SIZES:
        for d in [*lengths(p), *([70_001] if p < 9 else []), *([LARGE] if p in (2, 3) else [])]:
            rows = integers(p, d, dtype)
            total = rows.sum(0)
            assert all(np.array_equal(x, total) for x in work(rows)), (p, d)


@pytest.mark.parametrize(
    "layout",
    [
        [1],
        [3],
        [1, 1],
        [2, 2],
        [3, 1],
        [1, 1, 1],
        [2, 5, 3],
        [4, 4, 4, 4],
        [16, 16, 16, 16],
        [9] * 7,
    ],
    ids=str,
)
def test_hierarchical_sums_exactly_on_any_layout(layout: list[int]) -> None:
    for d in [*lengths(sum(layout)), 30_011]:
        for dtype in ("int64", "float32", "float64") if d in (1, 1000) else ("float32",):
            rows = integers(sum(layout), d, dtype)
            total = rows.sum(0)
            assert all(np.array_equal(x, total) for x in across_nodes(rows, layout)), (d, dtype)


@pytest.mark.parametrize("name", KINDS)
def test_ranks_agree_to_the_bit_within_the_rounding_bound(name: str) -> None:
    shallow = ("binomial_tree", "recursive_doubling", "rabenseifner", "double_binary_tree")
    for p in (2, 3, 5, 8, 13, 32, 33):
        rows = np.random.default_rng(p).standard_normal((p, 501)).astype(np.float32)
        first, *rest = run(KINDS[name], rows)
        assert all(np.array_equal(x, first) for x in rest), p
        # k additions in a row: |error| <= k u sum |x|; a tree of depth m has at most 2 m in a row
        k = {True: 2 * ceil(log2(p)) + 1, False: p - 1}[name in shallow]
        exact = rows.astype(np.float64).sum(0)
        bound = k * np.finfo(np.float32).eps / 2 * np.abs(rows.astype(np.float64)).sum(0)
        assert (np.abs(first - exact) <= bound).all(), p


@pytest.mark.parametrize("name", KINDS)
def test_divisor_applies_to_the_complete_sum(name: str) -> None:
    for p in (1, 2, 3, 6, 7, 8, 12):
        rows = np.random.default_rng(p).standard_normal((p, 37))
        sums, quotients = run(KINDS[name], rows), run(KINDS[name], rows, divisor=7)
        assert all(np.array_equal(x / 7, y) for x, y in zip(sums, quotients, strict=True)), p


def log(p: int) -> int:
    """Return floor(log2 p)."""
    return p.bit_length() - 1


def messages(name: str, p: int) -> int:
    """Return the messages of all ranks for unsegmented vectors of at least p elements."""
    a, b = sides(p)
    power = 1 << log(p)
    return {
        "star": 2 * (p - 1),
        "binomial_tree": 2 * (p - 1),
        "recursive_doubling": power * log(p) + 2 * (p - power),
        "rabenseifner": 2 * power * log(p) + 2 * (p - power),
        "ring": 2 * (p - 1) * p,
        "segmented_ring": 2 * (p - 1) * p,
        "double_binary_tree": 4 * (p - 1),
        "torus": (2 * (a - 1) + 2 * (b - 1)) * p,
    }[name]


def vectors(name: str, p: int) -> int:
    """Return the data that all ranks send, in vectors."""
    power = 1 << log(p)
    return {
        "recursive_doubling": power * log(p) + 2 * (p - power),
        "rabenseifner": 2 * (power - 1) + 2 * (p - power),
    }.get(name, 2 * (p - 1))


def most_rounds(name: str, p: int) -> int:
    """Return the rounds of the rank that has most of them."""
    a, b = sides(p)
    folds = 0 if p == 1 << log(p) else 2
    return {
        "star": p,
        "binomial_tree": 2 * ceil(log2(p)),
        "recursive_doubling": log(p) + folds,
        "rabenseifner": 2 * log(p) + folds,
        "ring": 2 * (p - 1),
        "segmented_ring": 2 * (p - 1),
        "double_binary_tree": 2 * log(p + (p % 2 == 0)),
        "torus": 2 * (a - 1) + 2 * (b - 1),
    }[name]


@pytest.mark.parametrize("name", KINDS)
def test_messages_and_elements_follow_the_formula(name: str) -> None:
    for p in SIZES:
        d = 1003
        plans = schedules(KINDS[name], p, d)
        assert sum(plan.messages() for plan in plans) == messages(name, p), p
        assert sum(plan.elements() for plan in plans) == vectors(name, p) * d, p


@pytest.mark.parametrize("p", [2, 3, 4, 7, 12])
def test_long_vectors_are_segmented(p: int) -> None:
    d, size = 500_000, 8

    def message_count(name: str) -> int:
        return sum(plan.messages() for plan in schedules(KINDS[name], p, d, size))

    def pieces(n: int, segment: int) -> int:
        return -(-n * size // segment)

    chunks = [b - a for a, b in pairwise(even(0, d, p))]
    cut = sum(pieces(n, ring.SEGMENT_BYTES) for n in chunks)
    assert message_count("segmented_ring") == 2 * (p - 1) * cut
    halves = [b - a for a, b in pairwise(even(0, d, 2))]
    cut = sum(pieces(n, double_binary_tree.SEGMENT_BYTES) for n in halves)
    assert message_count("double_binary_tree") == 2 * (p - 1) * cut
    if p == 4:  # per rank: halves, then quarters, and back
        each = [
            pieces(d // 2, rabenseifner.SEGMENT_BYTES),
            pieces(d // 4, rabenseifner.SEGMENT_BYTES),
        ]
        assert message_count("rabenseifner") == 2 * p * sum(each)


@pytest.mark.parametrize("name", KINDS)
def test_rounds_do_not_exceed_the_formula(name: str) -> None:
    for p in SIZES[1:]:
        plans = schedules(KINDS[name], p, 1003)
        busy = [sum(bool(x.sends or x.receives) for x in plan.rounds) for plan in plans]
        assert max(busy) <= most_rounds(name, p), p


@pytest.mark.parametrize("name", KINDS)
def test_receives_do_not_overlap_sends_of_a_round(name: str) -> None:
    for p in (2, 3, 6, 8, 13, 16):
        for plan in schedules(KINDS[name], p, 200_003):
            for each in plan.rounds:
                read = [(x.lo, x.hi) for x in each.sends]
                arrivals = [(x.lo, x.hi) for x in each.receives if not x.add]
                for k, (lo, hi) in enumerate(arrivals):
                    for a, b in read + arrivals[:k]:
                        assert hi <= a or b <= lo, (p, each)


def test_rounds_overlap_only_if_their_memory_is_disjoint() -> None:
    added = Round(receives=(Piece(1, 10, 20, add=True),))
    for lo, hi, independent in ((0, 10, True), (20, 30, True), (19, 30, False), (12, 14, False)):
        piece = Piece(2, lo, hi)
        assert apart(added, Round(sends=(piece,))) == independent
        assert apart(added, Round(receives=(piece,))) == independent
        assert apart(Round(receives=(Piece(1, 10, 20),)), Round(sends=(piece,))) == independent
        assert apart(Round(sends=(Piece(1, 10, 20),)), Round(receives=(piece,))) == independent
        assert apart(Round(then=(Op("divide", 10, 10),)), Round(sends=(piece,))) == independent
        assert apart(Round(then=(Op("copy", 50, 10, 10),)), Round(receives=(piece,))) == independent
    # the piece is received into scratch memory first
    assert apart(added, Round(receives=(Piece(2, 10, 20, add=True),)))
    assert apart(Round(sends=(Piece(1, 10, 20),)), Round(sends=(Piece(2, 10, 20),)))


def test_rounds_start_in_order_and_as_early_as_possible() -> None:
    independent = [Round(sends=(Piece(1, k, k + 1),)) for k in range(7)]
    assert start_times(independent, 4) == [-1] * 4 + [0, 2, 4]
    assert start_times(independent, 1) == [-1, 0, 2, 4, 6, 8, 10]
    chain = [Round(sends=(Piece(1, 0, 5),), receives=(Piece(1, 0, 5, add=True),))] * 3
    assert start_times(chain, 4) == [-1, 1, 3]  # each sends the sum of the previous round
    mixed = [*independent[:1], *chain[:2], Round(sends=(Piece(1, 7, 8),))]
    # the last round is independent, but rounds start in order
    assert start_times(mixed, 4) == [-1, -1, 3, 3]


@pytest.mark.parametrize("name", KINDS)
def test_rounds_in_flight_use_disjoint_memory(name: str) -> None:
    for p, window in ((2, 1), (3, 8), (4, 3), (7, 1), (8, 2), (12, 8)):
        for plan in schedules(KINDS[name], p, 500_003):
            times = start_times(plan.rounds, window)
            assert times == sorted(times)
            for k, t in enumerate(times):
                unfinished = range((t + 1) // 2, k)
                assert len(unfinished) <= window
                assert all(apart(plan.rounds[j], plan.rounds[k]) for j in unfinished)


def test_two_trees_have_different_inner_ranks() -> None:
    for p in range(2, 130):
        first, second = double_binary_tree.two_trees(p)
        assert set(first) == set(second) == set(range(p))
        assert not any(first[r].children and second[r].children for r in range(p)), p
        for tree in (first, second):
            (root,) = (r for r in tree if tree[r].parent is None)
            assert tree[root].height <= log(p)
            for r, node in tree.items():
                assert len(node.children) <= 2
                assert all(tree[c].parent == r for c in node.children)
                assert all(tree[c].height < node.height for c in node.children)
                assert all(tree[c].depth == node.depth + 1 for c in node.children)
            assert sum(len(node.children) for node in tree.values()) == p - 1


def test_sides_of_the_torus_are_near_a_square() -> None:
    assert [sides(p) for p in (1, 2, 6, 7, 12, 16, 64)] == [
        (1, 1),
        (1, 2),
        (2, 3),
        (1, 7),
        (3, 4),
        (4, 4),
        (8, 8),
    ]
