"""Steps that ranks of an asynchronous algorithm share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from algorithms.wire.memory import require_room
from algorithms.wire.waiting import meet

if TYPE_CHECKING:
    from mpi4py import MPI

FAR = 2**40
"""Larger than the worker-steps of a segment; its sum over all ranks fits an int64."""


class StepBudget:
    """Shared count of worker-steps begun since `reset`; construction and `close` are collective."""

    def __init__(self, comm: MPI.Intracomm) -> None:
        from mpi4py import MPI

        self._comm = comm
        here = np.dtype(np.int64).itemsize if comm.rank == 0 else 0
        require_room(comm, here)
        self._win = MPI.Win.Allocate(here, np.dtype(np.int64).itemsize, comm=comm)
        self._before = np.zeros(1, np.int64)

    def reset(self) -> None:
        """Set the count to zero; collective."""
        meet(self._comm)
        if self._comm.rank == 0:
            self._win.Lock(0)
            self._win.Put(np.zeros(1, np.int64), 0)
            self._win.Unlock(0)
        meet(self._comm)

    def take(self, steps: int) -> int:
        """Begin some worker-steps; return the number that all ranks began before."""
        from mpi4py import MPI

        self._win.Lock(0, MPI.LOCK_SHARED)
        self._win.Fetch_and_op(np.array([steps], np.int64), self._before, 0, op=MPI.SUM)
        self._win.Unlock(0)
        return int(self._before[0])

    def end(self) -> None:
        """Stop all ranks from beginning another step."""
        self.take(FAR)

    def close(self) -> None:
        """Free the window; collective."""
        self._win.Free()
