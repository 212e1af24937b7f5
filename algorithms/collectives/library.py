"""MPI_Allreduce of the MPI library, the reference for the other all-reduces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from algorithms.wire import carrier as messages
from algorithms.wire.carrier import divide_in_place
from algorithms.wire.meter import COPY, OTHER, WAIT, Meter

if TYPE_CHECKING:
    from mpi4py import MPI


def cuts(d: int, dtype: np.dtype[Any]) -> list[slice]:
    """Return slices of [0, d) whose number of bytes fits the count argument of MPI."""
    most = max(1, messages.MOST_BYTES // dtype.itemsize)
    return [slice(a, a + most) for a in range(0, d, most)]


class Library:
    """MPI_Allreduce, in place, with the algorithm that the MPI library selects."""

    def __init__(
        self, comm: MPI.Intracomm, d: int, dtype: np.dtype[Any], bounds: list[int], meter: Meter
    ) -> None:
        from mpi4py import MPI

        self.spans = [(bounds[comm.rank], bounds[comm.rank + 1])]
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
        self._meter.lap(OTHER)
        self._divisor = divisor
        if self._comm.size > 1:
            for piece in self._pieces:
                self._requests.append(self._comm.Iallreduce(self._in_place, piece, op=self._op))
                self._meter.sent(piece.nbytes)

    def test(self) -> bool:
        """Progress without blocking; return True if only the division remains."""
        self._meter.lap(OTHER)
        return all(request.Test() for request in self._requests)

    def finish(self) -> None:
        """Complete a started call."""
        self._meter.lap(OTHER)
        for request in self._requests:
            request.Wait()
        self._requests = []
        self._meter.lap(WAIT)
        self._divide(self._divisor)

    def _divide(self, divisor: int) -> None:
        if divisor != 1:
            divide_in_place(self.parts[0], divisor)
            self._meter.lap(COPY)

    def close(self) -> None:
        """Release nothing."""
