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

CLOCK_TRIPS = 50
CLOCK_TAG = 7


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
    """Offset and round trip on rank 0; the peer answers with its clock."""
    clock = np.zeros(1, np.int64)
    readings = []
    for _ in range(CLOCK_TRIPS):
        if comm.rank == peer:
            comm.Recv(clock, 0, CLOCK_TAG)
            clock[0] = perf_counter_ns()
            comm.Send(clock, 0, CLOCK_TAG)
            continue
        began = perf_counter_ns()
        comm.Send(clock, peer, CLOCK_TAG)
        comm.Recv(clock, peer, CLOCK_TAG)
        ended = perf_counter_ns()
        readings.append((ended - began, int(clock[0]) - (began + ended) // 2))
    trip, offset = min(readings, default=(0, 0))
    return offset, trip
