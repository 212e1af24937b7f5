"""Hierarchical all-reduce: shared memory inside a node, parallel all-reduces between nodes.

Kurth et al.: Exascale deep learning for climate analytics, SC 2018, section V-A4: several local
ranks each exchange one slice of the node's sum with the other nodes.
Symbols: N nodes, q ranks on this node, k the smallest q of all nodes. Every node has k carriers,
the ranks that send between nodes.
Departures: (1) inside the node the slices are added in an MPI-3 shared window, not by NCCL; (2) a
node may have any number of ranks: if it has more than k, the remaining ranks only add and copy.

    1. inside the node: each of its q ranks adds its slice of the q vectors (shared_memory.py)
    2. carrier j of every node: all-reduce of slice j of k with the carriers j of the other nodes,
       by recursive doubling for small slices, else by Rabenseifner's algorithm if N is a power
       of two, else by the ring
    3. inside the node: each rank copies its slice of the result into all q vectors

Only step 2 sends messages: the cost of one vector between N ranks, divided among the carriers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from algorithms.collectives import rabenseifner, ring, shared_memory
from algorithms.collectives.recursive_doubling import RecursiveDoubling
from algorithms.collectives.shared_memory import SharedVectors, slices
from algorithms.wire.carrier import Carrier
from algorithms.wire.memory import require_room
from algorithms.wire.meter import COPY, WAIT, Meter
from algorithms.wire.placement import Placement
from algorithms.wire.schedule import Schedule

if TYPE_CHECKING:
    from mpi4py import MPI

SMALL_BYTES = 16 * 1024
"""Maximum size of a slice that is exchanged by recursive doubling."""
SEGMENT_BYTES, WINDOW = 128 * 1024, 8
"""Size of a piece between nodes, and pieces in flight: enough to keep the network busy."""


def between(node: int, nodes: int, n: int, itemsize: int) -> Schedule:
    """Return the schedule by which the carriers of a slice of n elements exchange it."""
    power = nodes & (nodes - 1) == 0
    if n * itemsize <= SMALL_BYTES:
        return RecursiveDoubling.schedule(node, Placement.dealt(nodes, nodes), n, itemsize)
    all_reduce = rabenseifner.all_reduce if power else ring.all_reduce
    return replace(all_reduce(node, nodes, n, SEGMENT_BYTES // itemsize), window=WINDOW)


class Hierarchical:
    """Shared memory inside a node; between nodes, several local ranks each exchange a slice."""

    def __init__(
        self,
        comm: MPI.Intracomm,
        d: int,
        dtype: np.dtype[Any],
        placement: Placement,
        meter: Meter,
    ) -> None:
        from mpi4py import MPI

        require_room(comm, d * dtype.itemsize)
        self.spans = [placement.span(comm.rank)]
        self._meter = meter
        self._node = node = shared_memory.on_node(comm)
        self._vectors = SharedVectors(node, d, dtype)
        self.parts = [self._vectors.local]
        self._copied = shared_memory.crossing(self._vectors.blocks)
        firsts = sorted(set(comm.allgather(node.allreduce(comm.rank, op=MPI.MIN))))
        number = firsts.index(node.bcast(comm.rank))
        carriers = comm.allreduce(node.size, op=MPI.MIN)
        self._own_slice = node.size == carriers
        """True if each rank carries the slice it adds; then no fence is needed in between."""
        carries = node.rank < carriers
        self._across = comm.Split(node.rank if carries else MPI.UNDEFINED, number)
        self._carrier: Carrier | None = None
        if carries:
            assert isinstance(self._across, MPI.Intracomm)
            lo, hi = slices(d, carriers, dtype.itemsize)[node.rank]
            plan = between(number, len(firsts), hi - lo, dtype.itemsize)
            self._carrier = Carrier(self._across, plan, [self._vectors.all[0][lo:hi]], meter)

    def __call__(self, divisor: int = 1) -> None:
        """Replace parts[0] by the sum over the ranks, divided by the divisor; collective."""
        self._begin(divisor)
        self._end()

    def start(self, divisor: int = 1) -> None:
        """Add the vectors of the node and start the exchange between nodes; collective."""
        self._begin(divisor)

    def test(self) -> bool:
        """Progress without blocking; return True if only the copy inside the node remains."""
        return self._carrier is None or self._carrier.test()

    def finish(self) -> None:
        """Complete a started call."""
        self._end()

    def _begin(self, divisor: int) -> None:
        self._fence()
        shared_memory.add_up(self._vectors.blocks)
        self._meter.bytes_copied += self._copied
        self._meter.lap(COPY)
        if not self._own_slice:
            self._fence()
        if self._carrier:
            self._carrier.start(divisor)

    def _end(self) -> None:
        if self._carrier:
            self._carrier.finish()
        if not self._own_slice:
            self._fence()
        shared_memory.share(self._vectors.blocks)
        self._meter.bytes_copied += self._copied
        self._meter.lap(COPY)
        self._fence()

    def _fence(self) -> None:
        """Wait for all ranks of the node; their earlier writes are then visible; collective."""
        self._vectors.fence()
        self._meter.lap(WAIT)

    def close(self) -> None:
        """Free the window and the communicators; collective."""
        if self._carrier:
            self._carrier.close()
            self._across.Free()
        self.parts = []
        self._vectors.close()
        self._node.Free()
