"""The clocks of the ranks beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mpi4py import MPI

CLOCK_TRIPS, QUICK_NS, PATIENCE_NS = 50, 200_000, 500_000_000
"""Trips are many, and go on until one was quick or patience is over: on a busy machine the first
ones may take milliseconds."""
CLOCK_TAG, ENOUGH = 7, -1


@dataclass(frozen=True)
class Reading:
    """All clocks at one moment of a run; (ranks,) each."""

    read_ns: NDArray[np.int64]
    """When the rank's clock was read, on that clock."""
    offset_ns: NDArray[np.int64]
    """By how much it leads rank 0's."""
    round_trip_ns: NDArray[np.int64]
    """Of the message it was read by: the offset is not known better; 0 where the clock is one."""


def read_clocks(comm: MPI.Intracomm, hosts: Sequence[str]) -> Reading:
    """Compare the clocks of all ranks, whose hosts are these; collective."""
    offset, trip = clock_offsets(comm, hosts)
    read = np.array(comm.allgather(perf_counter_ns()), np.int64)
    return Reading(read, offset, trip)


def clock_offsets(
    comm: MPI.Intracomm, hosts: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(ranks,) each clock's lead over rank 0's, and the round trip it was read by; collective.

    The ranks of a host share one clock, so the first rank of each other host reads for all of it:
    half-way through the shortest of some round trips both clocks are taken to show the same time.
    """
    readings = {hosts[0]: (0, 0)}
    for peer, host in enumerate(hosts):
        if host not in readings:
            readings[host] = _compare(comm, peer) if comm.rank in (0, peer) else (0, 0)
    offsets = np.array([readings[host] for host in hosts], np.int64)
    comm.Bcast(offsets)
    return offsets[:, 0].copy(), offsets[:, 1].copy()


def _compare(comm: MPI.Intracomm, peer: int) -> tuple[int, int]:
    """Offset and round trip on rank 0; the peer answers with its clock until it is told enough."""
    clock = np.zeros(1, np.int64)
    if comm.rank == peer:
        while True:
            comm.Recv(clock, 0, CLOCK_TAG)
            if clock[0] == ENOUGH:
                return 0, 0
            clock[0] = perf_counter_ns()
            comm.Send(clock, 0, CLOCK_TAG)
    trip, offset, trips, first = PATIENCE_NS, 0, 0, perf_counter_ns()
    while trips < CLOCK_TRIPS or (trip > QUICK_NS and perf_counter_ns() - first < PATIENCE_NS):
        clock[0] = trips
        began = perf_counter_ns()
        comm.Send(clock, peer, CLOCK_TAG)
        comm.Recv(clock, peer, CLOCK_TAG)
        ended = perf_counter_ns()
        trip, offset = min((trip, offset), (ended - began, int(clock[0]) - (began + ended) // 2))
        trips += 1
    clock[0] = ENOUGH
    comm.Send(clock, peer, CLOCK_TAG)
    return offset, trip
