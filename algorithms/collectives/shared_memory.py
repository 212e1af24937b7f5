"""All-reduce in shared memory, in place: the vectors themselves live in an MPI-3 shared window.

The window is that of Hoefler et al. 2013 (shared_vectors.py); the schedule is a direct
reduce-scatter and all-gather.
Symbols: p ranks, all on one node; rank r owns slice r of p.
Departures: none.

    1. fence                     every vector is complete
    2. the owner of a slice reads it from all p vectors, adds in rank order, divides, and writes
       the result into all p vectors, a block that fits the cache at a time
    3. fence                     every result is complete

No message is sent; a rank reads and writes (p - 1)/p of the vector in the memory of others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from algorithms.collectives.shared_vectors import (
    SharedVectors,
    add_up_and_share,
    crossing,
    on_node,
)
from algorithms.wire.meter import COPY, OTHER, Meter

if TYPE_CHECKING:
    from mpi4py import MPI


class SharedMemory:
    """Direct sums in a shared window of one node: no messages, no copies of the vector."""

    def __init__(
        self, comm: MPI.Intracomm, d: int, dtype: np.dtype[Any], bounds: list[int], meter: Meter
    ) -> None:
        from mpi4py import MPI

        node = on_node(comm)
        ranks_here = node.size
        node.Free()
        if comm.allreduce(ranks_here, op=MPI.MIN) < comm.size:
            raise ValueError(
                f"shared_memory needs all {comm.size} ranks on one node, here are {ranks_here}: "
                "take hierarchical, ring or recursive_doubling"
            )
        self.spans = [(bounds[comm.rank], bounds[comm.rank + 1])]
        self._meter = meter
        self._vectors = SharedVectors(comm, d, dtype, meter)
        self.parts = [self._vectors.mine]
        self._copied = 2 * crossing(self._vectors.blocks)
        self._divisor, self._added = 1, False
        self._fence: MPI.Request | None = None

    def __call__(self, divisor: int = 1) -> None:
        """Collective: parts[0] becomes the sum over the ranks, over divisor."""
        self._vectors.fence()
        self._work(divisor)
        self._vectors.fence()

    def start(self, divisor: int = 1) -> None:
        """Say that this rank's vector is complete; leave it alone until `finish`; collective."""
        self._meter.lap(OTHER)
        self._divisor, self._added = divisor, False
        self._fence = self._vectors.start_fence()

    def test(self) -> bool:
        """Go on as far as the others are; return whether all is done."""
        self._meter.lap(OTHER)
        while self._fence is not None:
            if not self._fence.Test():
                return False
            self._go_on()
        return True

    def finish(self) -> None:
        """Complete a call that was started."""
        self._meter.lap(OTHER)
        while self._fence is not None:
            self._fence.Wait()
            self._go_on()

    def _go_on(self) -> None:
        """A fence is through: add after the first, end after the second."""
        self._vectors.end_fence()
        self._fence = None
        if not self._added:
            self._work(self._divisor)
            self._added = True
            self._fence = self._vectors.start_fence()

    def _work(self, divisor: int) -> None:
        add_up_and_share(self._vectors.blocks, divisor)
        self._meter.bytes_copied += self._copied
        self._meter.lap(COPY)

    def close(self) -> None:
        """Free the window; collective. The vector must not be used afterwards."""
        self.parts = []
        self._vectors.close()
