"""Whether all candidates of the largest size fit into the memory of every host."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.common.sizes import available_bytes, format_size, free_bytes, round_down
from bench.common.spec import UserError

if TYPE_CHECKING:
    from mpi4py import MPI

VECTORS = 3
"""Of the message's size that a candidate may hold on a rank: vector, scratch, what MPI buffers."""
SHARE = 0.9
"""Of the available memory that may be used."""
SHARED = Path("/dev/shm")
"""Where MPI keeps shared windows on Linux; in containers it is often small."""
WINDOWED = ("shared_memory", "hierarchical", "auto")
"""Algorithms whose vector may lie in a shared window."""


def most_bytes(places: Sequence[tuple[str, int | None]], vectors: int) -> tuple[int, str] | None:
    """The largest size of which `vectors` a rank fit, and the host that sets it.

    places: host name and available bytes of every rank; None where no host says.
    """
    hosts: dict[str, list[int]] = {}
    for host, free in places:
        if free is not None:
            hosts.setdefault(host, []).append(free)
    fits = [(int(SHARE * min(free) / (len(free) * vectors)), host) for host, free in hosts.items()]
    return min(fits, default=None)


def check_memory(comm: MPI.Intracomm, largest: int, names: Sequence[str]) -> None:
    """Refuse a largest size, bytes, with which these algorithms do not fit; collective.

    Errors: UserError on every rank.
    """
    try:
        free = available_bytes(Path("/proc/meminfo").read_text())
    except OSError:
        free = None
    host = socket.gethostname()
    windows = sum(name in WINDOWED for name in names)
    needs = [("the memory", free, VECTORS * len(names))]
    if windows:
        needs.append((f"the shared memory ({SHARED})", free_bytes(SHARED), windows))
    for what, there, vectors in needs:
        found = most_bytes(comm.allgather((host, there)), vectors)
        if found and largest > found[0]:
            fits = format_size(round_down(found[0]))
            raise UserError(
                f"--maxbytes {format_size(largest)} with {len(names)} algorithms at {comm.size} "
                f"ranks does not fit into {what} of {found[1]}: the largest size that does is "
                f"{fits}; give -e {fits}, or fewer --algorithms"
            )
