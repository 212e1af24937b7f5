"""Whether all candidates of the largest size fit into the memory of every host."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.measuring.sizes import rounded_down, size_text
from bench.runtime.spec import UserError

if TYPE_CHECKING:
    from mpi4py import MPI

VECTORS = 3
"""Of the message's size that a candidate may hold on a rank: vector, scratch, what MPI buffers."""
SHARE = 0.9
"""Of the available memory that may be used."""


def available_bytes(meminfo: str) -> int | None:
    """MemAvailable of the text of /proc/meminfo; None where it does not say."""
    for line in meminfo.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def most_bytes(places: Sequence[tuple[str, int | None]], candidates: int) -> tuple[int, str] | None:
    """The largest size that fits and the host that sets it; None where no host says.

    places: host name and available bytes of every rank.
    """
    hosts: dict[str, list[int]] = {}
    for host, free in places:
        if free is not None:
            hosts.setdefault(host, []).append(free)
    fits = [
        (int(SHARE * min(free) / (len(free) * VECTORS * candidates)), host)
        for host, free in hosts.items()
    ]
    return min(fits, default=None)


def check_memory(comm: MPI.Intracomm, largest: int, candidates: int) -> None:
    """Refuse a largest size, bytes, that does not fit; collective.

    Errors: UserError on every rank.
    """
    try:
        free = available_bytes(Path("/proc/meminfo").read_text())
    except OSError:
        free = None
    found = most_bytes(comm.allgather((socket.gethostname(), free)), candidates)
    if found and largest > found[0]:
        fits, host = found
        raise UserError(
            f"--maxbytes {size_text(largest)} with {candidates} algorithms at {comm.size} ranks "
            f"does not fit into the memory of {host}: the largest size that does is "
            f"{size_text(rounded_down(fits))}; give -e {size_text(rounded_down(fits))}, or fewer "
            "--algorithms"
        )
