"""Reduce-scatter, all-gather, broadcast and all-to-all: results, messages and bytes."""

from math import ceil, log2

import numpy as np
import pytest
from mpi4py import MPI

from algorithms.collectives import OPERATIONS
from algorithms.collectives.protocol import Collective, ScheduledCollective, chunk
from algorithms.wire.meter import Meter
from tests.algorithms.collectives_by_hand import Vector, simulate
from tests.helpers import everywhere

ALL: dict[tuple[str, str], type[Collective]] = {
    (operation, name): kind
    for operation, algorithms in OPERATIONS.items()
    for name, kind in algorithms.items()
}
KINDS = {key: kind for key, kind in ALL.items() if issubclass(kind, ScheduledCollective)}
SIZES = [*range(1, 18), 31, 32, 33]
each = pytest.mark.parametrize("key", KINDS, ids="-".join)


def expected(operation: str, rows: Vector, rank: int) -> Vector:
    """Return the result of an operation on a rank; rows: (p, d), the vector of every rank."""
    p, d = rows.shape
    own = slice(*chunk(rank, p, d))
    if operation == "reduce_scatter":
        return np.asarray(rows[:, own].sum(0))
    if operation == "all_gather":
        return np.concatenate([rows[c, slice(*chunk(c, p, d))] for c in range(p)])
    if operation == "broadcast":
        return np.asarray(rows[0])
    return np.asarray(rows[:, own].ravel())


def integers(p: int, d: int, dtype: str = "float32") -> Vector:
    return np.random.default_rng(d).integers(-99, 99, (p, d)).astype(dtype)


def run(kind: type[ScheduledCollective], rows: Vector, itemsize: int = 4) -> list[Vector]:
    """Execute an operation for all ranks in this process; return the result of every rank."""
    p, d = rows.shape
    plans = [kind.schedule(r, p, d, itemsize) for r in range(p)]
    homes = [np.full(plan.home, -1, rows.dtype) for plan in plans]
    for home, row in zip(homes, rows, strict=True):
        home[:d] = row
    simulate(plans, homes)
    return [home[slice(*kind.output(r, p, d))] for r, home in enumerate(homes)]


@each
def test_every_operation_has_its_result_at_every_number_of_ranks(key: tuple[str, str]) -> None:
    for p in SIZES:
        for d in sorted({0, 1, p - 1, p, 3 * p + 2}) if p < 18 else [p + 1]:
            rows = integers(p, d)
            for rank, result in enumerate(run(KINDS[key], rows)):
                assert np.array_equal(result, expected(key[0], rows, rank)), (p, d, rank)


@each
@pytest.mark.parametrize("p", [2, 3, 4, 7])
def test_long_vectors_in_pieces_have_the_same_result(key: tuple[str, str], p: int) -> None:
    rows = integers(p, 300_007)
    for rank, result in enumerate(run(KINDS[key], rows)):
        assert np.array_equal(result, expected(key[0], rows, rank)), rank


def leaders(p: int) -> int:
    """Return 2^floor(log2 p)."""
    return 1 << p.bit_length() - 1


def messages(key: tuple[str, str], p: int) -> int:
    """Return the messages of all ranks for vectors of at least p elements, in one piece each."""
    m, folded = leaders(p).bit_length() - 1, p - leaders(p)
    wrapped = sum(
        (r + min(1 << j, p - (1 << j))) > p for r in range(p) for j in range((p - 1).bit_length())
    )
    return {
        ("reduce_scatter", "ring"): p * (p - 1),
        ("reduce_scatter", "pairwise"): p * (p - 1),
        ("reduce_scatter", "recursive_halving"): leaders(p) * m + 2 * folded,
        ("all_gather", "ring"): p * (p - 1),
        ("all_gather", "recursive_doubling"): leaders(p) * m + 2 * folded,
        ("all_gather", "bruck"): p * ceil(log2(p)) + wrapped,
        ("broadcast", "binomial_tree"): p - 1,
        ("broadcast", "scatter_all_gather"): p - 1 + p * (p - 1),
        ("broadcast", "chain"): p - 1,
        ("all_to_all", "pairwise"): p * (p - 1),
        ("all_to_all", "bruck"): p * ceil(log2(p)),
    }[key]


def chunks(key: tuple[str, str], p: int) -> int:
    """Return the data that all ranks send, in chunks of d / p, for p that divides d."""
    folded = p - leaders(p)
    bits = sum(k.bit_count() for k in range(p))
    subtrees = sum(min(r & -r, p - r) for r in range(1, p))
    halving = p * (leaders(p) - 1)  # exact for p = 2^m, and else within the sizes of the groups
    return {
        ("reduce_scatter", "ring"): p * (p - 1),
        ("reduce_scatter", "pairwise"): p * (p - 1),
        ("reduce_scatter", "recursive_halving"): halving + folded * (p + 1),
        ("all_gather", "ring"): p * (p - 1),
        ("all_gather", "recursive_doubling"): halving + folded * (p + 1),
        ("all_gather", "bruck"): p * (p - 1),
        ("broadcast", "binomial_tree"): p * (p - 1),
        ("broadcast", "scatter_all_gather"): subtrees + p * (p - 1),
        ("broadcast", "chain"): p * (p - 1),
        ("all_to_all", "pairwise"): p * (p - 1),
        ("all_to_all", "bruck"): p * bits,
    }[key]


@each
def test_messages_and_elements_follow_the_formula(key: tuple[str, str]) -> None:
    for p in SIZES:
        plans = [KINDS[key].schedule(r, p, 5 * p, 4) for r in range(p)]
        assert sum(plan.messages() for plan in plans) == messages(key, p), p
        assert sum(plan.elements() for plan in plans) == 5 * chunks(key, p), p


@each
def test_rounds_do_not_exceed_the_formula(key: tuple[str, str]) -> None:
    for p in SIZES:
        logarithm, folds = ceil(log2(p)), 0 if p == leaders(p) else 2
        most = {
            "ring": p - 1,
            "pairwise": p - 1,
            "recursive_halving": leaders(p).bit_length() - 1 + folds,
            "recursive_doubling": leaders(p).bit_length() - 1 + folds,
            "bruck": logarithm,
            "binomial_tree": logarithm,
            "scatter_all_gather": logarithm + p - 1,
            "chain": 2,
        }[key[1]]
        for r in range(p):
            plan = KINDS[key].schedule(r, p, 5 * p, 4)
            assert sum(bool(x.sends or x.receives) for x in plan.rounds) <= most, (p, r)


def test_the_chain_forwards_a_piece_while_the_next_one_arrives() -> None:
    kind = KINDS["broadcast", "chain"]
    first, middle, last = (kind.schedule(r, 3, 100_000, 4).rounds for r in range(3))
    assert [len(x) for x in (first, middle, last)] == [4, 5, 5]
    assert all(x.sends and x.receives for x in middle[1:-1])
    assert not middle[0].sends
    assert not middle[-1].receives


@pytest.mark.mpi
@pytest.mark.parametrize("key", ALL, ids="-".join)
def test_operations_over_mpi(comm: MPI.Intracomm, key: tuple[str, str]) -> None:
    """Check each type at two numbers of ranks."""
    p, r = comm.size, comm.rank
    dtype = "float32" if p % 2 else "int64"
    for d in (0, 1, p, 3 * p + 2, 100_003):
        rows, meter = integers(p, d, dtype), Meter()
        plan = ALL[key](comm, d, np.dtype(dtype), meter)
        for turn in range(2):  # plans are reusable
            plan.vector[:] = rows[r] + turn
            plan()
            want = expected(key[0], rows + turn, r)
            everywhere(comm, np.array_equal(plan.result, want), key, d)
        if key in KINDS:
            schedule = KINDS[key].schedule(r, p, d, rows.itemsize)
            counts = (2 * schedule.messages(), 2 * schedule.elements() * rows.itemsize)
            everywhere(comm, (meter.messages, meter.bytes_sent) == counts, meter.messages)
        plan.close()
