"""Memory check before large allocations, so that a run is refused and not killed by the system."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from bench.common.sizes import available_bytes
from bench.common.spec import UserError
from bench.common.text import format_bytes

if TYPE_CHECKING:
    from mpi4py import MPI


def check_memory(comm: MPI.Intracomm, needed: int, purpose: str, way_out: str) -> None:
    """Check that the bytes that the ranks of each host need are available there; collective.

    needed: bytes on this rank. Errors: UserError on every rank, with the purpose and the way out.
    """
    try:
        free = available_bytes(Path("/proc/meminfo").read_text())
    except OSError:
        free = None
    if host := overloaded(comm.allgather((socket.gethostname(), needed, free))):
        name, total, available = host
        raise UserError(
            f"{purpose} need {format_bytes(total)} of memory on {name}, which has "
            f"{format_bytes(available)} available: {way_out}"
        )


def overloaded(ranks: Iterable[tuple[str, int, int | None]]) -> tuple[str, int, int] | None:
    """Return the first host whose ranks need more than is available, with both numbers of bytes.

    ranks: host, needed and available bytes of each rank; None if unknown.
    """
    hosts: dict[str, tuple[int, int]] = {}
    for host, needed, free in ranks:
        if free is not None:
            total, available = hosts.get(host, (0, free))
            hosts[host] = total + needed, min(available, free)
    return next(
        ((host, total, free) for host, (total, free) in hosts.items() if total > free), None
    )
