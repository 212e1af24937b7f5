"""All-reduce in shared memory, in place: the vectors themselves live in an MPI-3 shared window.

Hoefler et al.: MPI + MPI: a new hybrid approach to parallel programming with MPI plus shared
memory, Computing 2013, for the window; the schedule is a direct reduce-scatter and all-gather.
Symbols: p ranks, all on one node; rank r owns slice r of p.
Departures: none.

    1. fence                     every vector is complete
    2. the owner of a slice reads it from all p vectors, adds in rank order, divides, and writes
       the result into all p vectors, a block that fits the cache at a time
    3. fence                     every result is complete

No message is sent; a rank reads and writes (p - 1)/p of the vector in the memory of others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from algorithms.meter import COPY, WAIT, Meter

if TYPE_CHECKING:
    from mpi4py import MPI

BLOCK_BYTES = 256 * 1024
"""Of each vector at a time: p blocks and the sum stay in the second-level cache."""
CACHE_LINE_BYTES = 64


class SharedMemory:
    """Direct sums in a shared window of one node: no messages, no copies of the vector."""

    def __init__(
        self,
        comm: MPI.Intracomm,
        d: int,
        dtype: np.dtype[np.floating],
        bounds: list[int],
        meter: Meter,
    ) -> None:
        from mpi4py import MPI

        node = comm.Split_type(MPI.COMM_TYPE_SHARED)
        ranks_here, p, r = node.size, comm.size, comm.rank
        node.Free()
        if comm.allreduce(ranks_here, op=MPI.MIN) < p:
            raise ValueError(
                f"shared_memory needs all {p} ranks on one node, here are {ranks_here}: "
                "take ring or recursive_doubling"
            )
        self.spans = [(bounds[r], bounds[r + 1])]
        self._comm, self._meter = comm, meter
        self._window = MPI.Win.Allocate_shared(
            max(d, 1) * dtype.itemsize, dtype.itemsize, comm=comm
        )
        self._window.Lock_all(MPI.MODE_NOCHECK)
        vectors: list[NDArray[np.floating]] = [
            np.asarray(self._window.Shared_query(q)[0]).view(dtype)[:d] for q in range(p)
        ]
        self.parts = [vectors[r]]
        self.parts[0][:] = 0
        line = CACHE_LINE_BYTES // dtype.itemsize
        lo, hi = (min(d, -(-q * d // (p * line)) * line) for q in (r, r + 1))
        block = BLOCK_BYTES // dtype.itemsize
        self._blocks = [
            [vector[a : min(a + block, hi)] for vector in vectors] for a in range(lo, hi, block)
        ]
        self._sum = np.empty(min(block, hi - lo), dtype)
        self._bytes = (hi - lo) * dtype.itemsize * 2 * (p - 1)

    def __call__(self, divisor: int = 1) -> None:
        """Collective: parts[0] becomes the sum over the ranks, over divisor."""
        self._fence()
        for first, *others in self._blocks:
            total = self._sum[: len(first)]
            total[:] = first
            for other in others:
                total += other
            if divisor != 1:
                total /= divisor
            first[:] = total
            for other in others:
                other[:] = total
        self._meter.bytes_copied += self._bytes
        self._meter.lap(COPY)
        self._fence()

    def _fence(self) -> None:
        self._window.Sync()
        self._comm.Barrier()
        self._window.Sync()
        self._meter.lap(WAIT)

    def close(self) -> None:
        """Free the window; collective. The vector must not be used afterwards."""
        self._blocks, self.parts = [], []
        self._window.Unlock_all()
        self._window.Free()
