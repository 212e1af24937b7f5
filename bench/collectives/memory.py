"""Memory check: all candidates at the largest size must fit into every host."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from algorithms.wire.memory import SHARE, SHARED, free_bytes
from bench.collectives.config import OUT_OF_PLACE
from bench.common.limits import HOST, Pool, Use, memory_pools, uses
from bench.common.sizes import format_size, round_down
from bench.common.spec import UserError

if TYPE_CHECKING:
    from mpi4py import MPI

VECTORS = 3
"""Buffers of the message's size of one candidate on a rank: vector, scratch and MPI's own."""
WINDOWED = ("shared_memory", "hierarchical")
"""Algorithms that place their vector in a shared window; `auto` leaves them out without room."""


def most_bytes(
    places: Sequence[tuple[str, Sequence[Pool]]], vectors: int
) -> tuple[int, Use] | None:
    """Return the largest size for `vectors` buffers on each rank, and the pool that limits it.

    places: host and pools of every rank. Returns None if no limit is known.
    """
    limits = [
        (int(SHARE * use.pool.available / (len(use.ranks) * vectors)), use) for use in uses(places)
    ]
    return min(limits, key=lambda limit: limit[0], default=None)


def check_memory(comm: MPI.Intracomm, largest: int, names: Sequence[str]) -> None:
    """Check that these algorithms fit into memory at the largest size, in bytes; collective.

    Errors: UserError on every rank, with the largest size that fits.
    """
    windows = sum(name.removesuffix(OUT_OF_PLACE) in WINDOWED for name in names)
    copies = sum(name.endswith(OUT_OF_PLACE) for name in names)
    needs = [("the memory", memory_pools(), VECTORS * len(names) + copies)]
    free = free_bytes(SHARED)
    if windows and free is not None:
        needs.append((f"the shared memory ({SHARED})", [Pool(HOST, free)], windows))
    for kind, pools, vectors in needs:
        limit = most_bytes(comm.allgather((socket.gethostname(), pools)), vectors)
        if limit and largest > limit[0]:
            most, use = format_size(round_down(limit[0])), limit[1]
            inside = "" if use.pool.name == HOST else f" within {use.pool.name}"
            raise UserError(
                f"--maxbytes {format_size(largest)} with {len(names)} algorithms at {comm.size} "
                f"ranks does not fit into {kind} of {use.host}{inside}: give -e {most}, the "
                "largest size that does, or fewer --algorithms"
            )
