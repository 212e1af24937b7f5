"""Memory check before large allocations, so that a run is refused and not killed by the system."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.common.limits import Pool, Use, memory_pools, uses
from bench.common.spec import UserError
from bench.common.text import format_bytes

if TYPE_CHECKING:
    from mpi4py import MPI


def check_memory(comm: MPI.Intracomm, needed: int, purpose: str, way_out: str) -> None:
    """Check that the bytes that the ranks need are available to them; collective.

    The host, each cgroup and each `ulimit` must have room. needed: bytes on this rank. Errors:
    UserError on every rank, with the purpose and the way out.
    """
    ranks = comm.allgather((socket.gethostname(), memory_pools(), needed))
    if lack := overloaded(ranks):
        use, total = lack
        raise UserError(f"{purpose} need {format_bytes(total)} of memory {use}: {way_out}")


def overloaded(ranks: Sequence[tuple[str, Sequence[Pool], int]]) -> tuple[Use, int] | None:
    """Return the pool with the least room for what its ranks need, and these bytes; else None.

    ranks: host, pools and needed bytes of each rank.
    """
    totals = [
        (use, sum(ranks[rank][2] for rank in use.ranks))
        for use in uses([(host, pools) for host, pools, _ in ranks])
    ]
    lacks = [(use, total) for use, total in totals if total > use.pool.available]
    return min(lacks, key=lambda lack: lack[0].pool.available, default=None)
