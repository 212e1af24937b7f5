"""Memory check: all candidates at the largest size must fit into every host."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.collectives.config import OUT_OF_PLACE
from bench.common.sizes import available_bytes, format_size, free_bytes, round_down
from bench.common.spec import UserError

if TYPE_CHECKING:
    from mpi4py import MPI

VECTORS = 3
"""Buffers of the message's size of one candidate on a rank: vector, scratch and MPI's own."""
SHARE = 0.9
"""Usable share of the available memory."""
SHARED = Path("/dev/shm")
"""File system of MPI's shared windows on Linux; often small in containers."""
WINDOWED = ("shared_memory", "hierarchical", "auto")
"""Algorithms that may place their vector in a shared window."""


def most_bytes(places: Sequence[tuple[str, int | None]], vectors: int) -> tuple[int, str] | None:
    """Return the largest size for `vectors` buffers on each rank, and the limiting host.

    places: host name and available bytes of every rank, None if unknown. Returns None if no host
    knows.
    """
    hosts: dict[str, list[int]] = {}
    for host, free in places:
        if free is not None:
            hosts.setdefault(host, []).append(free)
    limits = [
        (int(SHARE * min(free) / (len(free) * vectors)), host) for host, free in hosts.items()
    ]
    return min(limits, default=None)


def check_memory(comm: MPI.Intracomm, largest: int, names: Sequence[str]) -> None:
    """Check that these algorithms fit into memory at the largest size, in bytes; collective.

    Errors: UserError on every rank, with the largest size that fits.
    """
    try:
        free = available_bytes(Path("/proc/meminfo").read_text())
    except OSError:
        free = None
    host = socket.gethostname()
    windows = sum(name.removesuffix(OUT_OF_PLACE) in WINDOWED for name in names)
    copies = sum(name.endswith(OUT_OF_PLACE) for name in names)
    needs = [("the memory", free, VECTORS * len(names) + copies)]
    if windows:
        needs.append((f"the shared memory ({SHARED})", free_bytes(SHARED), windows))
    for kind, available, vectors in needs:
        limit = most_bytes(comm.allgather((host, available)), vectors)
        if limit and largest > limit[0]:
            most = format_size(round_down(limit[0]))
            raise UserError(
                f"--maxbytes {format_size(largest)} with {len(names)} algorithms at {comm.size} "
                f"ranks does not fit into {kind} of {limit[1]}: give -e {most}, the largest size "
                "that does, or fewer --algorithms"
            )
