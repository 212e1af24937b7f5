"""Ring all-reduce: reduce-scatter, then all-gather, with neighbours only.

Patarasuk, Yuan: Bandwidth optimal all-reduce algorithms for clusters of workstations, J. Parallel
Distrib. Comput. 2009.
Symbols: p ranks, r this rank, d elements, chunk c the c-th of p nearly equal slices.
Departures: none. The segmented ring sends the chunks in pieces, as Open MPI's allreduce of this
name does, so that a sum is still in the cache when it is forwarded.

    step      0        1        2       reduce-scatter, p = 4: the sum of chunk c starts at rank
    rank 0  c3 ->    c2 ->    c1 ->     c + 1, moves up the ring and gains a term at every
    rank 1  c0 ->    c3 ->    c2 ->     rank; it is complete on rank c. The all-gather is a
    ...                                 second turn that copies instead of adding.

For every p, a rank sends 2 (p - 1) messages, times ceil(chunk / segment) if segmented, and all
ranks together send 2 (p - 1) d elements. Every chunk is added in one fixed order, so that the
result has the same bits on all ranks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from algorithms.wire.carrier import Scheduled
from algorithms.wire.placement import Placement
from algorithms.wire.schedule import Edges, Round, Schedule, divide, even, swap

WHOLE = 2**62
"""Piece size that leaves every chunk in one piece."""


def reduce_scatter(
    ring: Sequence[int], at: int, edges: Edges, most: int = WHOLE
) -> Iterator[Round]:
    """Yield the rounds that sum chunk `at` over all ranks of the ring; this rank is ring[at]."""
    p = len(ring)
    to, source = ring[(at + 1) % p], ring[at - 1]
    for k in range(p - 1):
        out, into = (at - k - 1) % p, (at - k - 2) % p
        yield from swap(
            to, (edges[out], edges[out + 1]), source, (edges[into], edges[into + 1]), most, True
        )


def all_gather(ring: Sequence[int], at: int, edges: Edges, most: int = WHOLE) -> Iterator[Round]:
    """Yield the rounds that copy chunk c of ring[c] to every rank; this rank is ring[at]."""
    p = len(ring)
    to, source = ring[(at + 1) % p], ring[at - 1]
    for k in range(p - 1):
        out, into = (at - k) % p, (at - k - 1) % p
        yield from swap(
            to, (edges[out], edges[out + 1]), source, (edges[into], edges[into + 1]), most, False
        )


def all_reduce(rank: int, p: int, d: int, most: int = WHOLE) -> Schedule:
    """Return the schedule of two turns of the ring 0, 1, ..., p - 1."""
    ring, edges = range(p), even(0, d, p)
    return Schedule(
        [
            *reduce_scatter(ring, rank, edges, most),
            divide(edges[rank], edges[rank + 1]),
            *all_gather(ring, rank, edges, most),
        ],
        home=d,
    )


class Ring(Scheduled):
    """Messages between neighbours only: 2(p-1) per rank, bandwidth-optimal for every p."""

    @staticmethod
    def schedule(rank: int, placement: Placement, d: int, itemsize: int) -> Schedule:
        """Return the schedule with each chunk in one piece."""
        return all_reduce(rank, placement.ranks, d)


SEGMENT_BYTES = 512 * 1024


class SegmentedRing(Scheduled):
    """The ring in pieces of 512 KiB: additions overlap with messages and stay in the cache."""

    @staticmethod
    def schedule(rank: int, placement: Placement, d: int, itemsize: int) -> Schedule:
        """Return the schedule with each chunk in pieces."""
        return all_reduce(rank, placement.ranks, d, SEGMENT_BYTES // itemsize)
