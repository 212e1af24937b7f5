"""Every all-reduce: exact, equal on all ranks, and it sends what its formula says."""

import numpy as np
import pytest
from mpi4py import MPI

from algorithms.collectives import ALLREDUCES
from algorithms.collectives.tree import TreeSum
from algorithms.meter import Meter
from algorithms.protocol import AllReduce
from tests.helpers import Array, everywhere, sha

pytestmark = pytest.mark.mpi

NAMES = list(ALLREDUCES)


def even(total: int, p: int) -> list[int]:
    return [r * total // p for r in range(p + 1)]


def fill(plan: AllReduce, rows: Array, first: int) -> None:
    """Hand the rows [first, ...) of this rank's workers to the plan as it wants them."""
    for part, (lo, hi) in zip(plan.parts, plan.spans, strict=True):
        part[:] = rows[lo - first : hi - first].sum(0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_integers_exactly(comm: MPI.Intracomm, name: str, dtype: str) -> None:
    p, r = comm.size, comm.rank
    for d in (1, max(1, p - 1), p, p + 1, 1000, 100_003):
        for total in (p, p + 1, 3 * p + 2):
            bounds = even(total, p)
            rows = np.random.default_rng(d).integers(-99, 99, (total, d)).astype(dtype)
            plan = ALLREDUCES[name](comm, d, np.dtype(dtype), bounds, Meter())
            for _ in range(2):  # the plan is used again
                fill(plan, rows[bounds[r] : bounds[r + 1]], bounds[r])
                plan()
                exact = np.array_equal(plan.parts[0], rows.sum(0))
                everywhere(comm, exact, name, d, total)
            plan.close()


@pytest.mark.parametrize("name", NAMES)
def test_all_ranks_hold_the_same_bits_and_runs_repeat(comm: MPI.Intracomm, name: str) -> None:
    d, p = 5003, comm.size
    mine = np.random.default_rng(comm.rank).standard_normal(d).astype(np.float32)
    plan = ALLREDUCES[name](comm, d, mine.dtype, even(p, p), Meter())
    hashes = []
    for _ in range(3):
        plan.parts[0][:] = mine
        plan(divisor=p)
        hashes.append(sha(plan.parts[0]))
    seen = {digest for rank in comm.allgather(hashes) for digest in rank}
    everywhere(comm, len(seen) == 1, name)
    mean = comm.allreduce(mine.astype(np.float64)) / p
    everywhere(comm, np.allclose(plan.parts[0], mean, atol=1e-6))  # float32, 4 terms
    plan.close()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_are_kept(comm: MPI.Intracomm, name: str, value: float) -> None:
    plan = ALLREDUCES[name](comm, 9, np.dtype("float32"), even(comm.size, comm.size), Meter())
    plan.parts[0][:] = 1
    if comm.rank == comm.size - 1:
        plan.parts[0][4] = value
    plan(divisor=2)
    kept = plan.parts[0][4]
    everywhere(comm, np.isnan(kept) if np.isnan(value) else kept == value)
    everywhere(comm, np.isfinite(np.delete(plan.parts[0], 4)).all())
    plan.close()


def test_recursive_doubling_adds_in_the_order_of_the_tree(comm: MPI.Intracomm) -> None:
    d, p, r = 33, comm.size, comm.rank
    for total in range(p, 4 * p + 3):
        rows = np.random.default_rng(total).standard_normal((total, d)).astype(np.float32)
        expected = np.empty(d, np.float32)
        TreeSum(total, (0, total), d, rows.dtype)(rows, expected)
        plan = ALLREDUCES["recursive_doubling"](comm, d, rows.dtype, even(total, p), Meter())
        for part, span in zip(plan.parts, plan.spans, strict=True):
            TreeSum(total, span, d, rows.dtype)(rows[slice(*span)], part)
        plan()
        everywhere(comm, np.array_equal(plan.parts[0], expected), total, r)


def test_ring_sends_its_formula(comm: MPI.Intracomm) -> None:
    p, d = comm.size, 1003
    meter = Meter()
    plan = ALLREDUCES["ring"](comm, d, np.dtype("float64"), even(p, p), meter)
    plan()
    assert meter.messages == 2 * (p - 1)
    total = comm.allreduce(meter.bytes_sent)
    everywhere(comm, total == 2 * (p - 1) * d * 8)


def test_recursive_doubling_sends_its_formula(comm: MPI.Intracomm) -> None:
    p, d = comm.size, 1003
    meter = Meter()
    ALLREDUCES["recursive_doubling"](comm, d, np.dtype("float64"), even(p, p), meter)()
    power = 2 ** (p.bit_length() - 1)
    # log2 exchanges between 2^m ranks; each extra rank hands in one vector and gets one back;
    # of p = 3 leaves the tree keeps (0, [1 2]) apart until the end, so rank 0 holds two sums
    expected = {1: 0, 2: 2, 3: 1 + 2 + 1 + 1, 4: 8}[p]
    total = comm.allreduce(meter.bytes_sent) // (d * 8)
    everywhere(comm, total == expected, p, power, total)


def test_shared_memory_sends_nothing_and_touches_two_slices(comm: MPI.Intracomm) -> None:
    p, d = comm.size, 4096
    meter = Meter()
    plan = ALLREDUCES["shared_memory"](comm, d, np.dtype("float32"), even(p, p), meter)
    plan()
    everywhere(comm, (meter.messages, meter.bytes_sent) == (0, 0))
    everywhere(comm, comm.allreduce(meter.bytes_copied) == 2 * (p - 1) * d * 4)
    plan.close()
