"""Binomial tree all-reduce: reduce to rank 0, then broadcast.

Thakur, Rabenseifner, Gropp, Int. J. High Perform. Comput. Appl. 2005, sections 4.2 and 4.4.
Symbols: p ranks, r this rank; the parent of r is r without its lowest set bit.
Departures: none. Sums are computed in rank order: a rank adds its nearest child first.

    p = 6    reduce     1 -> 0, 3 -> 2, 5 -> 4;  2 -> 0;  4 -> 0
             broadcast  0 -> 4, 0 -> 2, then 4 -> 5, 2 -> 3, 0 -> 1

In total, 2 (p - 1) messages of the whole vector are sent in 2 ceil(log2 p) steps.
"""

from __future__ import annotations

from collections.abc import Iterator

from algorithms.wire.carrier import Scheduled
from algorithms.wire.placement import Placement
from algorithms.wire.schedule import Piece, Round, Schedule, divide


def children(rank: int, p: int) -> list[int]:
    """Return the children of a rank, nearest first."""
    lowest = rank & -rank or 1 << p.bit_length()
    bits = (1 << j for j in range(lowest.bit_length() - 1))
    return [rank | bit for bit in bits if rank | bit < p]


def reduce(rank: int, p: int, lo: int, hi: int) -> Iterator[Round]:
    """Yield the rounds that sum [lo, hi) over all ranks on rank 0; the others keep partial sums."""
    for child in children(rank, p):
        yield Round(receives=(Piece(child, lo, hi, add=True),))
    if rank:
        yield Round(sends=(Piece(rank & (rank - 1), lo, hi),))


def broadcast(rank: int, p: int, lo: int, hi: int) -> Iterator[Round]:
    """Yield the rounds that copy [lo, hi) of rank 0 to every rank, the farthest child first."""
    if rank:
        yield Round(receives=(Piece(rank & (rank - 1), lo, hi),))
    for child in reversed(children(rank, p)):
        yield Round(sends=(Piece(child, lo, hi),))


class BinomialTree(Scheduled):
    """Reduce to rank 0, then broadcast: 2(p-1) messages in 2 log2(p) steps, for small vectors."""

    @staticmethod
    def schedule(rank: int, placement: Placement, d: int, itemsize: int) -> Schedule:
        """Return the schedule for the whole vector at once."""
        p = placement.ranks
        root = [divide(0, d)] if rank == 0 else []
        return Schedule([*reduce(rank, p, 0, d), *root, *broadcast(rank, p, 0, d)], home=d)
