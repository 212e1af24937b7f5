"""What the machine gives before any all-reduce: latency, bandwidth, clocks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from algorithms.collectives.shared_memory import add_up_and_share, blocks
from bench.session.clocks import clock_offsets

if TYPE_CHECKING:
    from mpi4py import MPI

SMALL_BYTES, LARGE_BYTES = 8, 4 * 2**20
MEMORY_BYTES, MEMORY_TRIES = 16 * 2**20, 5
LEAST_TRIPS, MOST_TRIPS, TRIPS_NS = 5, 200, 100_000_000
SPANS = 1000
POLL_S = 0.001


@dataclass(frozen=True)
class Links:
    """What was measured first, the same on every rank."""

    alpha_ns: float
    """Half the median round trip of 8 bytes between rank 0 and the last."""
    bandwidth: float
    """B/s: bytes over half the median round trip of 4 MiB between them."""
    memory: float
    """B/s that all ranks of a host read and write at once, adding and copying private vectors."""
    timer_ns: float
    """What two readings of the clock with nothing between them differ by, slowest rank."""
    offset_ns: NDArray[np.int64]
    """(ranks,) what each rank's clock is ahead of rank 0's."""
    round_trip_ns: NDArray[np.int64]
    """(ranks,) the round trip behind it, which bounds its error; 0 where the clock is shared."""


def measure(comm: MPI.Intracomm, hosts: Sequence[str]) -> Links:
    """Latency, bandwidth and clocks; hosts: of every rank; collective."""
    alpha = round_trip_ns(comm, SMALL_BYTES) / 2
    wire = round_trip_ns(comm, LARGE_BYTES) / 2
    spans = np.diff([perf_counter_ns() for _ in range(SPANS)])
    offset, trip = clock_offsets(comm, hosts)
    return Links(
        alpha_ns=alpha,
        bandwidth=LARGE_BYTES / wire * 1e9,
        memory=memory_bandwidth(comm, hosts),
        timer_ns=max(comm.allgather(float(np.median(spans)))),
        offset_ns=offset,
        round_trip_ns=trip,
    )


def round_trip_ns(comm: MPI.Intracomm, nbytes: int) -> float:
    """Median round trip of a message between rank 0 and the last one; collective.

    The other ranks sleep meanwhile: where they outnumber the cores, waiting costs these two time.
    """
    last = comm.size - 1
    buffer = np.ones(nbytes, np.uint8)
    median = 0.0
    if comm.rank in (0, last):
        median = float(np.median(_repeated(comm, last, buffer)))
    done = comm.Ibarrier()
    while not done.Test():
        time.sleep(POLL_S)
    return float(comm.bcast(median))


def _repeated(comm: MPI.Intracomm, last: int, buffer: NDArray[np.uint8]) -> list[int]:
    """Round trips, ns, until they are many or their time is over; on both ends."""
    _trips(comm, last, buffer)
    spent: list[int] = []
    more = np.ones(1, np.int64)
    while more[0]:
        spent += _trips(comm, last, buffer)
        if comm.rank == 0:
            more[0] = len(spent) < MOST_TRIPS and sum(spent) < TRIPS_NS
            comm.Send(more, last)
        else:
            comm.Recv(more, 0)
    return spent


def _trips(comm: MPI.Intracomm, last: int, buffer: NDArray[np.uint8]) -> list[int]:
    spent = []
    for _ in range(LEAST_TRIPS):
        began = perf_counter_ns()
        if comm.rank == 0:
            comm.Send(buffer, last)
            comm.Recv(buffer, last)
        else:
            comm.Recv(buffer, 0)
            comm.Send(buffer, 0)
        spent.append(perf_counter_ns() - began)
    return spent


def memory_bandwidth(comm: MPI.Intracomm, hosts: Sequence[str]) -> float:
    """Bytes read and written a second by the ranks of a host, the slowest host's; collective.

    The work is that of the shared-memory all-reduce, two vectors a rank added and copied block by
    block, on memory that no other rank touches.
    """
    own = [np.zeros(MEMORY_BYTES // 4, np.float32) for _ in range(2)]
    owned = blocks(own, 0) + blocks(own, 1)
    add_up_and_share(owned)
    spent = []
    for _ in range(MEMORY_TRIES):
        comm.Barrier()
        began = perf_counter_ns()
        add_up_and_share(owned)
        spent.append(max(comm.allgather(perf_counter_ns() - began)))
    traffic = 4 * MEMORY_BYTES * min(hosts.count(host) for host in hosts)
    return traffic / float(np.median(spent)) * 1e9
