"""Collectives of the MPI library, with the algorithms that it selects: the reference for others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from algorithms.collectives.protocol import Collective, chunk, widths
from algorithms.wire import carrier as messages
from algorithms.wire.carrier import divide_in_place
from algorithms.wire.meter import COPY, WAIT, Meter
from algorithms.wire.placement import Placement
from algorithms.wire.waiting import wait

if TYPE_CHECKING:
    from mpi4py import MPI


def cuts(d: int, dtype: np.dtype[Any]) -> list[slice]:
    """Return slices of [0, d) whose number of bytes fits the count argument of MPI."""
    most = max(1, messages.MOST_BYTES // dtype.itemsize)
    return [slice(a, a + most) for a in range(0, d, most)]


class Library:
    """MPI_Allreduce, in place, with the algorithm that the MPI library selects."""

    def __init__(
        self,
        comm: MPI.Intracomm,
        d: int,
        dtype: np.dtype[Any],
        placement: Placement,
        meter: Meter,
    ) -> None:
        from mpi4py import MPI

        self.spans = [placement.span(comm.rank)]
        self.parts = [np.zeros(d, dtype)]
        self._comm, self._meter = comm, meter
        self._in_place, self._op = MPI.IN_PLACE, MPI.SUM
        self._pieces = [self.parts[0][cut] for cut in cuts(d, dtype)]
        self._requests: list[MPI.Request] = []
        self._divisor = 1

    def __call__(self, divisor: int = 1) -> None:
        """Replace parts[0] by the sum over the ranks, divided by the divisor; collective.

        The messages of the library cannot be observed: one message of the vector is counted.
        """
        if self._comm.size > 1:
            for piece in self._pieces:
                self._comm.Allreduce(self._in_place, piece, op=self._op)
                self._meter.sent(piece.nbytes)
            self._meter.lap(WAIT)
        self._divide(divisor)

    def start(self, divisor: int = 1) -> None:
        """Start an MPI_Iallreduce; do not touch the vector until `finish`; collective."""
        self._divisor = divisor
        if self._comm.size > 1:
            for piece in self._pieces:
                self._requests.append(self._comm.Iallreduce(self._in_place, piece, op=self._op))
                self._meter.sent(piece.nbytes)

    def test(self) -> bool:
        """Progress without blocking; return True if only the division remains."""
        return all(request.Test() for request in self._requests)

    def finish(self) -> None:
        """Complete a started call."""
        wait(self._requests)
        self._requests = []
        self._meter.lap(WAIT)
        self._divide(self._divisor)

    def _divide(self, divisor: int) -> None:
        if divisor != 1:
            divide_in_place(self.parts[0], divisor)
            self._meter.lap(COPY)

    def close(self) -> None:
        """Release nothing."""


class LibraryCollective(Collective):
    """Base of the collectives of the MPI library; their messages are unknown and not counted."""

    def __init__(self, comm: MPI.Intracomm, d: int, dtype: np.dtype[Any], meter: Meter) -> None:
        self._comm, self._widths = comm, widths(comm.size, d)
        self._even = d % comm.size == 0
        self.vector = self.result = np.zeros(d, dtype)

    def close(self) -> None:
        """Release nothing."""


class LibraryReduceScatter(LibraryCollective):
    """MPI_Reduce_scatter, from one buffer to another; MPI_Reduce_scatter_block if p divides d."""

    def __init__(self, comm: MPI.Intracomm, d: int, dtype: np.dtype[Any], meter: Meter) -> None:
        super().__init__(comm, d, dtype, meter)
        lo, hi = chunk(comm.rank, comm.size, d)
        self.result = np.zeros(hi - lo, dtype)

    def __call__(self) -> None:
        """Set the result to this rank's chunk of the sum; collective."""
        if self._even:
            self._comm.Reduce_scatter_block(self.vector, self.result)
        else:
            self._comm.Reduce_scatter(self.vector, self.result, self._widths)


class LibraryAllGather(LibraryCollective):
    """MPI_Allgather in place; MPI_Allgatherv unless p divides d."""

    def __call__(self) -> None:
        """Set the vector to the chunks of all ranks; collective."""
        from mpi4py import MPI

        if self._even:
            self._comm.Allgather(MPI.IN_PLACE, self.vector)
        else:
            self._comm.Allgatherv(MPI.IN_PLACE, (self.vector, self._widths))


class LibraryBroadcast(LibraryCollective):
    """MPI_Bcast from rank 0."""

    def __call__(self) -> None:
        """Set the vector to that of rank 0; collective."""
        self._comm.Bcast(self.vector, 0)


class LibraryAllToAll(LibraryCollective):
    """MPI_Alltoall, from one buffer to another; MPI_Alltoallv unless p divides d."""

    def __init__(self, comm: MPI.Intracomm, d: int, dtype: np.dtype[Any], meter: Meter) -> None:
        super().__init__(comm, d, dtype, meter)
        own = self._widths[comm.rank]
        self.result = np.zeros(own * comm.size, dtype)
        self._arriving = [own] * comm.size

    def __call__(self) -> None:
        """Set the result to the chunks for this rank; collective."""
        if self._even:
            self._comm.Alltoall(self.vector, self.result)
        else:
            self._comm.Alltoallv((self.vector, self._widths), (self.result, self._arriving))
