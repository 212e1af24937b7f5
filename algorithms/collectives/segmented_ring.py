"""Segmented ring all-reduce: the ring's chunks in pieces, added while the next piece travels.

Patarasuk, Yuan 2009, as in ring.py; the segmenting is that of Open MPI's allreduce of this name.
Departures: none from the ring but the pieces: a piece that was added is still in the cache when it
is sent on, and the inbox stays there.

Sends 2 (p - 1) ceil(chunk / segment) messages a rank, as many bytes as the ring.
"""

from __future__ import annotations

from algorithms.collectives.ring import all_reduce
from algorithms.wire.carrier import Scheduled
from algorithms.wire.schedule import Schedule

SEGMENT_BYTES = 512 * 1024


class SegmentedRing(Scheduled):
    """The ring in pieces of 512 KiB: adds overlap with messages and stay in the cache."""

    @staticmethod
    def schedule(rank: int, bounds: list[int], d: int, itemsize: int) -> Schedule:
        """Each chunk in pieces."""
        return all_reduce(rank, len(bounds) - 1, d, SEGMENT_BYTES // itemsize)
