"""Meetings of the ranks of a loop of one's own, and ranks that never come.

A rank whose loader is longer waits in the exchange of a step for a rank that is at its end. Every
rank therefore publishes the number of steps that it has begun and of meetings that it has reached,
in a window that the others read without its help: a rank that has begun a further step and not
reached the meeting will not reach it.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from algorithms.wire.memory import require_room
from bench.common.spec import UserError
from bench.session.launch import end_job, write_stderr

if TYPE_CHECKING:
    from mpi4py import MPI

MEETING = 2**40
"""Factor of the number of meetings in a published number; more steps than any run has."""
POLL_S, CHECK_S = 0.0005, 0.2
"""Intervals between tests for the arrival of all ranks, and between readings of their steps (s)."""
MISTAKE = 2
"""Exit code of a user's mistake."""


class Meeting:
    """Published steps of every rank; collective to build and to close. Errors: RoomError."""

    def __init__(self, comm: MPI.Intracomm) -> None:
        from mpi4py import MPI

        self._comm = comm.Dup()
        here = np.dtype(np.int64).itemsize
        require_room(comm, here)
        self._win = MPI.Win.Allocate(here, here, comm=self._comm)
        memory: Any = self._win.tomemory()
        self._published = np.frombuffer(memory, np.int64)
        self._published[0] = 0
        self._meetings = self._steps = 0
        self._comm.Barrier()

    def begin(self, step: int) -> None:
        """Publish the beginning of a step, counted from 0."""
        self._steps = step + 1
        self._publish()

    def meet(self, place: str) -> None:
        """Wait until every rank has called this; collective.

        place: the call of the user's script, for the message. Ends the job, with one line, where
        a rank has taken further steps instead of calling it. Errors: UserError on every rank if
        their numbers of steps differ.
        """
        self._meetings += 1
        self._publish()
        request = self._comm.Ibarrier()
        checked_s = time.monotonic()
        while not request.Test():
            time.sleep(POLL_S)
            if time.monotonic() - checked_s > CHECK_S:
                self._check(place)
                checked_s = time.monotonic()
        steps = self._comm.allgather(self._steps)
        if min(steps) < max(steps):
            longest, shortest = steps.index(max(steps)), steps.index(min(steps))
            raise UserError(_message(longest, max(steps), shortest, min(steps), place))

    def _publish(self) -> None:
        self._published[0] = self._meetings * MEETING + self._steps

    def _check(self, place: str) -> None:
        """End the job if a rank has begun a further step instead of coming here."""
        from mpi4py import MPI

        value = np.zeros(1, np.int64)
        for rank in range(self._comm.size):
            self._win.Lock(rank, MPI.LOCK_SHARED)
            self._win.Get(value, rank)
            self._win.Unlock(rank)
            meetings, steps = divmod(int(value[0]), MEETING)
            if meetings < self._meetings and steps > self._steps:
                here = self._comm.rank
                text = _message(rank, steps, here, self._steps, place)
                write_stderr(f"error: {text}")
                end_job(self._comm, MISTAKE)
                os._exit(MISTAKE)

    def close(self) -> None:
        """Free the window; collective."""
        self._win.Free()
        self._comm.Free()


def _message(longest: int, more: int, shortest: int, fewer: int, place: str) -> str:
    return (
        f"rank {longest} is at step {more}, rank {shortest} called {place} after {fewer}: every "
        "rank must take the same number of steps. Loaders of different lengths end together by "
        "itertools.islice(loader, comm.allreduce(len(loader), op=MPI.MIN))"
    )
