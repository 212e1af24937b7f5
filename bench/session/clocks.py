"""Clock offsets between the ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mpi4py import MPI

TRIPS, QUICK_NS, TIMEOUT_NS = 50, 200_000, 500_000_000
"""Least number of round trips, and the round trip time that ends further attempts before the
timeout: on a busy machine the first round trips may take milliseconds."""
TAG, STOP = 7, -1


@dataclass(frozen=True)
class Reading:
    """All clocks at one moment of a run; each array (ranks,) int64, ns."""

    read_ns: NDArray[np.int64]
    """Reading of the rank's own clock."""
    offset_ns: NDArray[np.int64]
    """Lead over rank 0's clock."""
    round_trip_ns: NDArray[np.int64]
    """Round trip of the message that read the clock, the error bound of the offset; 0 on the host
    of rank 0."""


def read_clocks(comm: MPI.Intracomm, hosts: Sequence[str]) -> Reading:
    """Read and compare the clocks of all ranks; hosts: of all ranks; collective."""
    offset, trip = clock_offsets(comm, hosts)
    read = np.array(comm.allgather(perf_counter_ns()), np.int64)
    return Reading(read, offset, trip)


def clock_offsets(
    comm: MPI.Intracomm, hosts: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return each clock's lead over rank 0's and its round trip, (ranks,) int64, ns; collective.

    The ranks of a host share one clock, so the first rank of each other host reads it for all.
    Both clocks are assumed to agree half-way through the shortest of several round trips.
    """
    readings = {hosts[0]: (0, 0)}
    for peer, host in enumerate(hosts):
        if host not in readings:
            readings[host] = _compare(comm, peer) if comm.rank in (0, peer) else (0, 0)
    offsets = np.array([readings[host] for host in hosts], np.int64)
    comm.Bcast(offsets)
    return offsets[:, 0].copy(), offsets[:, 1].copy()


def _compare(comm: MPI.Intracomm, peer: int) -> tuple[int, int]:
    """Return offset and round trip on rank 0; the peer replies with its clock until STOP."""
    clock = np.zeros(1, np.int64)
    if comm.rank == peer:
        while True:
            comm.Recv(clock, 0, TAG)
            if clock[0] == STOP:
                return 0, 0
            clock[0] = perf_counter_ns()
            comm.Send(clock, 0, TAG)
    trip, offset, trips, first = TIMEOUT_NS, 0, 0, perf_counter_ns()
    while trips < TRIPS or (trip > QUICK_NS and perf_counter_ns() - first < TIMEOUT_NS):
        clock[0] = trips
        start = perf_counter_ns()
        comm.Send(clock, peer, TAG)
        comm.Recv(clock, peer, TAG)
        end = perf_counter_ns()
        trip, offset = min((trip, offset), (end - start, int(clock[0]) - (start + end) // 2))
        trips += 1
    clock[0] = STOP
    comm.Send(clock, peer, TAG)
    return offset, trip
