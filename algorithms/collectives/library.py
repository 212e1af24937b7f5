"""MPI's own all-reduce: the yardstick."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from algorithms.meter import COPY, WAIT, Meter

if TYPE_CHECKING:
    from mpi4py import MPI


class Library:
    """MPI_Allreduce, in place: whatever the MPI library picks."""

    def __init__(
        self,
        comm: MPI.Intracomm,
        d: int,
        dtype: np.dtype[np.floating],
        bounds: list[int],
        meter: Meter,
    ) -> None:
        from mpi4py import MPI

        self.spans = [(bounds[comm.rank], bounds[comm.rank + 1])]
        self.parts = [np.zeros(d, dtype)]
        self._comm, self._meter = comm, meter
        self._in_place, self._op = MPI.IN_PLACE, MPI.SUM

    def __call__(self, divisor: int = 1) -> None:
        """Collective: parts[0] becomes the sum over the ranks, over divisor.

        What the library sends is its own secret: one message of the vector is counted.
        """
        vector = self.parts[0]
        if self._comm.size > 1:
            self._comm.Allreduce(self._in_place, vector, op=self._op)
            self._meter.sent(vector.nbytes)
            self._meter.lap(WAIT)
        if divisor != 1:
            vector /= divisor
            self._meter.lap(COPY)

    def close(self) -> None:
        """Nothing to release."""
