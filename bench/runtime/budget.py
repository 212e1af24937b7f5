"""A budget of steps that ranks share without waiting for each other: one counter, one-sided MPI."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mpi4py import MPI


FAR = 2**40
"""More worker-steps than a segment has; so often added by every rank, still an int64."""


class StepBudget:
    """How many worker-steps have been begun since `reset`. Collective to build and to close."""

    def __init__(self, comm: MPI.Intracomm) -> None:
        from mpi4py import MPI

        self._comm = comm
        here = np.dtype(np.int64).itemsize if comm.rank == 0 else 0
        self._win = MPI.Win.Allocate(here, np.dtype(np.int64).itemsize, comm=comm)
        self._before = np.zeros(1, np.int64)

    def reset(self) -> None:
        """Nothing has been begun; collective."""
        self._comm.Barrier()
        if self._comm.rank == 0:
            self._win.Lock(0)
            self._win.Put(np.zeros(1, np.int64), 0)
            self._win.Unlock(0)
        self._comm.Barrier()

    def take(self, steps: int) -> int:
        """Begin so many worker-steps; return how many all ranks had begun before."""
        from mpi4py import MPI

        self._win.Lock(0, MPI.LOCK_SHARED)
        self._win.Fetch_and_op(np.array([steps], np.int64), self._before, 0, op=MPI.SUM)
        self._win.Unlock(0)
        return int(self._before[0])

    def end(self) -> None:
        """Let no rank begin another step."""
        self.take(FAR)

    def close(self) -> None:
        """Free the window; collective."""
        self._win.Free()
