"""All-reduce in shared memory, in place: the vectors are stored in an MPI-3 shared window.

Hoefler et al.: MPI + MPI: a new hybrid approach to parallel programming with MPI plus shared
memory, Computing 2013, for the window; the schedule is a direct reduce-scatter and all-gather.
Symbols: p ranks, all on one node; rank r owns slice r of p.
Departures: none.

    1. fence                     every vector is complete
    2. the owner of a slice reads it from all p vectors, adds in rank order, divides, and writes
       the result into all p vectors, in blocks that fit the cache
    3. fence                     every result is complete

No message is sent; a rank reads and writes (p - 1)/p of the vector in the memory of other ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from algorithms.wire.carrier import divide_in_place
from algorithms.wire.memory import require_room
from algorithms.wire.meter import COPY, WAIT, Meter
from algorithms.wire.placement import Placement
from algorithms.wire.waiting import Fence

if TYPE_CHECKING:
    from mpi4py import MPI

Vector: TypeAlias = NDArray[Any]

BLOCK_BYTES = 256 * 1024
"""Size of a block of each vector: the sum is still in the second-level cache when copied."""
CACHE_LINE_BYTES = 64


def slices(d: int, parts: int, itemsize: int) -> list[tuple[int, int]]:
    """Return nearly equal slices of [0, d) that begin at cache lines."""
    line = CACHE_LINE_BYTES // itemsize
    edges = [min(d, -(-q * d // (parts * line)) * line) for q in range(parts + 1)]
    return list(pairwise(edges))


def blocks(vectors: Sequence[Vector], rank: int) -> list[list[Vector]]:
    """Return the blocks of this rank's slice, each as the list of its views into all vectors."""
    lo, hi = slices(len(vectors[0]), len(vectors), vectors[0].itemsize)[rank]
    step = BLOCK_BYTES // vectors[0].itemsize
    return [[x[a : min(a + step, hi)] for x in vectors] for a in range(lo, hi, step)]


def add_up(owned: list[list[Vector]], divisor: int = 1) -> None:
    """Replace the first vector by the sum of all, in rank order, divided by the divisor."""
    for first, *rest in owned:
        _add(first, rest, divisor)


def share(owned: list[list[Vector]]) -> None:
    """Copy the first vector into all others."""
    for first, *rest in owned:
        _copy(first, rest)


def add_up_and_share(owned: list[list[Vector]], divisor: int = 1) -> None:
    """Add and share block by block: a sum is copied while it is in the cache."""
    for first, *rest in owned:
        _add(first, rest, divisor)
        _copy(first, rest)


def _add(first: Vector, rest: list[Vector], divisor: int) -> None:
    for other in rest:
        np.add(first, other, out=first)
    divide_in_place(first, divisor)


def _copy(first: Vector, rest: list[Vector]) -> None:
    for other in rest:
        other[:] = first


def crossing(owned: list[list[Vector]]) -> int:
    """Return the bytes read from other ranks' memory to add, and written there to share."""
    return sum(vector.nbytes for _, *rest in owned for vector in rest)


def on_node(comm: MPI.Intracomm) -> MPI.Intracomm:
    """Return the communicator of the ranks that share memory with this rank; collective."""
    from mpi4py import MPI

    node = comm.Split_type(MPI.COMM_TYPE_SHARED, comm.rank)
    assert isinstance(node, MPI.Intracomm)
    return node


class SharedVectors:
    """The (d,) vectors of all ranks of `node`, zeroed; collective to build and to close."""

    def __init__(self, node: MPI.Intracomm, d: int, dtype: np.dtype[Any]) -> None:
        from mpi4py import MPI

        p, nbytes = node.size, d * dtype.itemsize
        at = -(-nbytes // CACHE_LINE_BYTES) * CACHE_LINE_BYTES
        """Offset of the flags of the fence, behind the vector."""
        self._window = MPI.Win.Allocate_shared(at + Fence.nbytes(p), 1, comm=node)
        self._window.Lock_all(MPI.MODE_NOCHECK)
        memory = [np.asarray(self._window.Shared_query(q)[0]).view(np.uint8) for q in range(p)]
        memory[node.rank][:] = 0
        self.all: list[Vector] = [x[:nbytes].view(dtype) for x in memory]
        self.local = self.all[node.rank]
        self.blocks = blocks(self.all, node.rank)
        self.fence = Fence(node, [x[at:] for x in memory], self._window.Sync)
        node.Barrier()  # all flags are 0

    def close(self) -> None:
        """Free the window; collective. The vectors must not be used afterwards."""
        self.fence.close()
        self.blocks, self.all = [], []
        self.local = np.empty(0)
        self._window.Unlock_all()
        self._window.Free()


class SharedMemory:
    """Direct sums in a shared window of one node, without messages or copies of the vector."""

    def __init__(
        self,
        comm: MPI.Intracomm,
        d: int,
        dtype: np.dtype[Any],
        placement: Placement,
        meter: Meter,
    ) -> None:
        from mpi4py import MPI

        node = on_node(comm)
        ranks_here = node.size
        node.Free()
        if comm.allreduce(ranks_here, op=MPI.MIN) < comm.size:
            raise ValueError(
                f"shared_memory needs all {comm.size} ranks on one node, got {ranks_here} on this "
                "node: use hierarchical, ring or recursive_doubling"
            )
        require_room(comm, d * dtype.itemsize)
        self.spans = [placement.span(comm.rank)]
        self._meter = meter
        self._vectors = SharedVectors(comm, d, dtype)
        self.parts = [self._vectors.local]
        self._copied = 2 * crossing(self._vectors.blocks)
        self._divisor, self._fences = 1, 0
        """Divisor of the started call, and its fences that are not complete."""

    def __call__(self, divisor: int = 1) -> None:
        """Replace parts[0] by the sum over the ranks, divided by the divisor; collective."""
        fence, meter = self._vectors.fence, self._meter
        fence()
        meter.lap(WAIT)
        self._work(divisor)
        fence()
        meter.lap(WAIT)

    def start(self, divisor: int = 1) -> None:
        """Start a call; do not touch this rank's vector until `finish`; collective."""
        self._divisor, self._fences = divisor, 2
        self._vectors.fence.start()

    def test(self) -> bool:
        """Progress without blocking; return True if the call is complete."""
        while self._fences:
            if not self._vectors.fence.test():
                return False
            self._continue()
        return True

    def finish(self) -> None:
        """Complete a started call."""
        while self._fences:
            self._vectors.fence.finish()
            self._continue()

    def _continue(self) -> None:
        """Continue after a complete fence: add after the first, end after the second."""
        self._meter.lap(WAIT)
        self._fences -= 1
        if self._fences:
            self._work(self._divisor)
            self._vectors.fence.start()

    def _work(self, divisor: int) -> None:
        add_up_and_share(self._vectors.blocks, divisor)
        self._meter.bytes_copied += self._copied
        self._meter.lap(COPY)

    def close(self) -> None:
        """Free the window; collective. The vector must not be used afterwards."""
        self.parts = []
        self._vectors.close()
