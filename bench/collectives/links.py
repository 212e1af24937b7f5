"""Baseline of the machine: latency, bandwidth, memory bandwidth and clocks."""

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
"""Messages that measure latency and bandwidth."""
MEMORY_BYTES, MEMORY_REPEATS = 16 * 2**20, 5
LEAST_TRIPS, MOST_TRIPS, TRIPS_NS = 5, 200, 100_000_000
"""Round trips of one batch, of all batches, and the time after which no batch follows."""
CLOCK_READINGS = 1000
POLL_S = 0.001


@dataclass(frozen=True)
class Links:
    """Baseline of the machine, the same on every rank."""

    alpha_ns: float
    """Half the median round trip of 8 bytes between rank 0 and the last rank."""
    bandwidth: float
    """B/s: bytes over half the median round trip of 4 MiB between the same ranks."""
    memory: float
    """B/s read and written by all ranks of a host at once on private vectors."""
    timer_ns: float
    """Median difference of two consecutive clock readings, on the slowest rank."""
    offset_ns: NDArray[np.int64]
    """(ranks,) lead of each rank's clock over rank 0's."""
    round_trip_ns: NDArray[np.int64]
    """(ranks,) round trip that bounds the error of the offset; 0 for a shared clock."""
    alpha_spread: float
    """Interquartile range of the round trips of 8 bytes over their median."""
    bandwidth_spread: float
    """Interquartile range of the round trips of 4 MiB over their median."""


def measure(comm: MPI.Intracomm, hosts: Sequence[str]) -> Links:
    """Measure latency, bandwidth and clocks; hosts: of every rank; collective."""
    (small, alpha_spread), (large, bandwidth_spread) = (
        round_trip_ns(comm, nbytes) for nbytes in (SMALL_BYTES, LARGE_BYTES)
    )
    spans = np.diff([perf_counter_ns() for _ in range(CLOCK_READINGS)])
    offset, trip = clock_offsets(comm, hosts)
    return Links(
        alpha_ns=small / 2,
        bandwidth=LARGE_BYTES / (large / 2) * 1e9,
        memory=memory_bandwidth(comm, hosts),
        timer_ns=max(comm.allgather(float(np.median(spans)))),
        offset_ns=offset,
        round_trip_ns=trip,
        alpha_spread=alpha_spread,
        bandwidth_spread=bandwidth_spread,
    )


def round_trip_ns(comm: MPI.Intracomm, nbytes: int) -> tuple[float, float]:
    """Return median and spread of the round trips between rank 0 and the last rank; collective.

    The spread is the interquartile range over the median: a few slow trips leave it, while a
    median between two speeds of the link widens it. The other ranks sleep meanwhile: on an
    oversubscribed machine their waiting would delay these two.
    """
    last = comm.size - 1
    buffer = np.ones(nbytes, np.uint8)
    median = spread = 0.0
    if comm.rank in (0, last):
        low, median, high = np.percentile(_round_trips(comm, last, buffer), (25, 50, 75)).tolist()
        spread = (high - low) / median
    done = comm.Ibarrier()
    while not done.Test():
        time.sleep(POLL_S)
    figures: tuple[float, float] = comm.bcast((median, spread))
    return figures


def _round_trips(comm: MPI.Intracomm, last: int, buffer: NDArray[np.uint8]) -> list[int]:
    """Return round trips in ns, in batches until they are many or their time is over."""
    _batch(comm, last, buffer)
    trips: list[int] = []
    more = np.ones(1, np.int64)
    while more[0]:
        trips += _batch(comm, last, buffer)
        if comm.rank == 0:
            more[0] = len(trips) < MOST_TRIPS and sum(trips) < TRIPS_NS
            comm.Send(more, last)
        else:
            comm.Recv(more, 0)
    return trips


def _batch(comm: MPI.Intracomm, last: int, buffer: NDArray[np.uint8]) -> list[int]:
    trips = []
    for _ in range(LEAST_TRIPS):
        start = perf_counter_ns()
        if comm.rank == 0:
            comm.Send(buffer, last)
            comm.Recv(buffer, last)
        else:
            comm.Recv(buffer, 0)
            comm.Send(buffer, 0)
        trips.append(perf_counter_ns() - start)
    return trips


def memory_bandwidth(comm: MPI.Intracomm, hosts: Sequence[str]) -> float:
    """Return the B/s read and written by the ranks of the slowest host; collective.

    The work is that of the shared-memory all-reduce, with two private vectors on each rank that
    are added and copied block by block.
    """
    vectors = [np.zeros(MEMORY_BYTES // 4, np.float32) for _ in range(2)]
    pieces = blocks(vectors, 0) + blocks(vectors, 1)
    add_up_and_share(pieces)
    durations = []
    for _ in range(MEMORY_REPEATS):
        comm.Barrier()
        start = perf_counter_ns()
        add_up_and_share(pieces)
        durations.append(max(comm.allgather(perf_counter_ns() - start)))
    traffic = 4 * MEMORY_BYTES * min(hosts.count(host) for host in hosts)
    return traffic / float(np.median(durations)) * 1e9
