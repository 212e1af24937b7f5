"""Waits for other ranks: busy for some microseconds, then with naps that leave the core to others.

A message or a fence between ranks of a host takes a few microseconds, and a rank that polls sees
its end at once. A rank that still polls after that may occupy the core that the awaited rank needs.
It therefore naps: soon if threads of this host wait for a core, otherwise later.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from time import perf_counter_ns, sleep
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mpi4py import MPI

SPIN_NS, IDLE_SPIN_NS = 20_000, 2_000_000
"""Time for which a rank polls without a nap on a crowded core, and on one of its own."""
NAP_NS, LONGEST_NAP_NS, GROWTH = 10_000, 50_000, 8
"""Bounds of the length of a nap; the time since the start of the wait over this length."""
CROWDED, WINDOW_NS = 0.2, 5_000_000
"""Share of time in the queue from which a core counts as crowded; interval between two readings."""
SCHEDSTAT = "/proc/thread-self/schedstat"
"""File of Linux with the time of this thread on a core, and that in the queue for one, in ns."""
PR_SET_TIMERSLACK = 29
"""Option of prctl for the precision of sleeps, from linux/prctl.h."""
CACHE_LINE_BYTES = 64


def until(done: Callable[[], object], progress: Callable[[], object] | None = None) -> None:
    """Call `done` until it returns true.

    progress: called between calls of `done`, after some microseconds. It is needed if `done` does
    not call MPI, since messages of this rank may make progress only in calls of MPI.
    """
    if done():
        return
    start = perf_counter_ns()
    while perf_counter_ns() - start < SPIN_NS:
        if done():
            return
    end = start + (SPIN_NS if _queue().crowded() else IDLE_SPIN_NS)
    while not done():
        if progress:
            progress()
        now = perf_counter_ns()
        if now > end:
            sleep(min(max((now - start) // GROWTH, NAP_NS), LONGEST_NAP_NS) / 1e9)


def wait(requests: Iterable[MPI.Request | MPI.Prequest]) -> None:
    """Complete all requests."""
    for request in requests:
        until(request.Test)


def meet(comm: MPI.Intracomm) -> None:
    """Wait until every rank has called this, as a barrier does; collective."""
    until(comm.Ibarrier().Test)


class Queue:
    """Queue of this thread for a core: the time that the thread has spent in it, by Linux."""

    def __init__(self) -> None:
        try:
            self._file = os.open(SCHEDSTAT, os.O_RDONLY)
        except OSError:  # another system
            self._file = -1
        self._crowded, self._waited_ns, self._at_ns = False, 0, 0

    def crowded(self) -> bool:
        """Return True if the thread has recently waited for a core."""
        now_ns = perf_counter_ns()
        passed_ns = now_ns - self._at_ns
        if passed_ns > WINDOW_NS and self._file >= 0:
            waited_ns = int(os.pread(self._file, 80, 0).split()[1])
            self._crowded = waited_ns - self._waited_ns > CROWDED * passed_ns
            self._waited_ns, self._at_ns = waited_ns, now_ns
        return self._crowded


@cache
def _queue() -> Queue:
    """Return the queue of this process's thread, whose sleeps end on time from now on.

    Linux adds 50 us to a sleep by default.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0)
    return Queue()


class Fence:
    """Barrier of the ranks of a host over flags in their shared memory. Collective to create.

    Hensgen, Finkel, Manber: Two algorithms for barrier synchronization, International Journal of
    Parallel Programming 1988, the dissemination barrier. In round k of ceil(log2 p) a rank sets its
    flag k to the number of the fence and waits for flag k of the rank 2^k before it. Writes before
    the fence are visible after it. A fence may be started and tested, or called.

    flags: of each rank, (nbytes(p),) uint8 in shared memory, 0. sync: orders the accesses of this
    rank to the shared memory.
    """

    def __init__(
        self, comm: MPI.Intracomm, flags: Sequence[NDArray[np.uint8]], sync: Callable[[], object]
    ) -> None:
        p, rank = comm.size, comm.rank
        self._comm, self._sync = comm.Dup(), sync
        self._own = flags[rank].data.cast("q")
        before = [(rank - 2**k) % p for k in range(_rounds(p))]
        self._peers = [flags[q].data.cast("q") for q in before]
        self._number = self._round = 0

    @staticmethod
    def nbytes(p: int) -> int:
        """Return the bytes of the flags of one of p ranks, in whole cache lines."""
        return -(-8 * (_rounds(p) + 1) // CACHE_LINE_BYTES) * CACHE_LINE_BYTES

    def __call__(self) -> None:
        """Wait for all ranks; collective."""
        self.start()
        if not self.test():
            self.finish()

    def start(self) -> None:
        """Start a fence; collective."""
        self._number, self._round = self._number + 1, 0
        self._sync()
        self._own[0] = self._number

    def test(self) -> bool:
        """Return True if all ranks have started the fence; continue it without blocking."""
        number, k = self._number, self._round
        while k < len(self._peers):
            if self._peers[k][k] < number:
                return False
            self._sync()
            self._round = k = k + 1
            self._own[k] = number
        return True

    def finish(self) -> None:
        """Wait until all ranks have started the fence."""
        until(self.test, self._comm.Iprobe)

    def close(self) -> None:
        """Release the flags and the communicator; collective."""
        self._own, self._peers = memoryview(bytes(8)), []
        self._comm.Free()


def _rounds(p: int) -> int:
    return (p - 1).bit_length()
