"""Waits for other ranks: fences in shared memory, and the core of a rank that waits."""

import resource
import signal
from time import perf_counter

import numpy as np
import pytest
from mpi4py import MPI

from algorithms.collectives.shared_memory import SharedVectors
from algorithms.wire.waiting import meet, until, wait
from tests.helpers import everywhere


def test_a_long_wait_gives_the_core_away() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
    end = perf_counter() + 0.1
    until(lambda: perf_counter() > end)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw > before + 100


def test_messages_progress_during_a_long_wait_without_mpi() -> None:
    calls: list[int] = []
    until(lambda: len(calls) == 5, lambda: calls.append(1))
    assert len(calls) == 5


def test_a_signal_ends_a_wait() -> None:
    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    message = MPI.COMM_SELF.Irecv(bytearray(1), 0, 77)
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    try:
        with pytest.raises(KeyboardInterrupt):
            wait([message])
    finally:
        signal.signal(signal.SIGALRM, before)
    MPI.COMM_SELF.Send(b"1", 0, 77)
    wait([message])


@pytest.mark.mpi
def test_a_fence_makes_writes_visible(comm: MPI.Intracomm) -> None:
    """Every rank sees the numbers of all ranks, called or started, also after other waits."""
    vectors = SharedVectors(comm, 3, np.dtype(np.int64))
    right = True
    for k in range(1, 200):
        vectors.local[:] = k
        if (k + comm.rank) % 3:
            vectors.fence()
        else:
            vectors.fence.start()
            until(vectors.fence.test)
        right &= all((vector == k).all() for vector in vectors.all)
        vectors.fence()
        if k % 50 == comm.rank:
            meet(MPI.COMM_SELF)
    everywhere(comm, right)
    vectors.close()


@pytest.mark.mpi
def test_a_rank_in_a_fence_sends_the_message_that_another_rank_awaits(
    comm: MPI.Intracomm,
) -> None:
    """A message that needs calls of its sender arrives while the sender is in the fence."""
    vectors = SharedVectors(comm, 1, np.dtype(np.int64))
    large = np.full(2**20, comm.rank, np.int64)
    came = np.empty_like(large)
    request = comm.Isend(large, (comm.rank + 1) % comm.size, 5)
    if comm.rank:
        comm.Recv(came, comm.rank - 1, 5)
    vectors.fence()
    if not comm.rank:
        comm.Recv(came, comm.size - 1, 5)
    wait([request])
    everywhere(comm, bool((came == (comm.rank - 1) % comm.size).all()))
    vectors.close()
