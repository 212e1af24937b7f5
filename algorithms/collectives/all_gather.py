"""All-gathers: every rank contributes a chunk, and all ranks get all chunks.

Thakur, Rabenseifner, Gropp: Optimization of Collective Communication Operations in MPICH,
Int. J. High Perform. Comput. Appl. 2005, section 4.1; Bruck et al.: Efficient Algorithms for
All-to-All Communications in Multiport Message-Passing Systems, IEEE Trans. Parallel Distrib. Syst.
1997, section 4, for `bruck`.
Symbols: p ranks, r this rank, d elements, m = floor(log2 p), chunk c the c-th of p.
Departures: (1) ranks beyond 2^m fold as in recursive_doubling.py; (2) `bruck` keeps every chunk at
its place instead of rotating them at the end, so that a message which wraps around is two.

    p = 6   bruck   rank 0 receives chunk 1 from 1, chunks 2 and 3 from 2, chunks 4 and 5 from 4

`ring` sends p - 1 messages a rank and `bruck` ceil(log2 p), both with d - d / p elements for
every p. The leaders of `recursive_doubling` send m messages.
"""

from __future__ import annotations

from algorithms.collectives import ring
from algorithms.collectives.protocol import AllGather, chunk
from algorithms.collectives.rabenseifner import SEGMENT_BYTES, double
from algorithms.collectives.recursive_doubling import group_of, groups, unfold
from algorithms.wire.schedule import Piece, Round, Schedule, even
from algorithms.wire.sums import Span


class RingAllGather(AllGather):
    """Chunks move around a ring: p - 1 messages between neighbours, bandwidth-optimal."""

    @staticmethod
    def schedule(rank: int, p: int, d: int, itemsize: int) -> Schedule:
        """Return the schedule of one turn of the ring."""
        return Schedule([*ring.all_gather(range(p), rank, even(0, d, p))], home=d)


class DoublingAllGather(AllGather):
    """Exchanges that double in size: log2(p) messages, bandwidth-optimal for p = 2^m."""

    @staticmethod
    def schedule(rank: int, p: int, d: int, itemsize: int) -> Schedule:
        """Return the schedule: collect the chunk of a folded rank, double, return the vector."""
        v, all_groups = group_of(rank, p), groups(p)
        group, leaders = all_groups[v], [each[0] for each in all_groups]
        edges = [leader * d // p for leader in [*leaders, p]]
        folded = chunk(group[-1], p, d)
        rounds = []
        if rank != group[0]:
            rounds.append(Round(sends=(Piece(group[0], *folded),)))
        elif len(group) == 2:
            rounds.append(Round(receives=(Piece(group[1], *folded),)))
        if rank == group[0]:
            rounds += double(leaders, v, edges, SEGMENT_BYTES // itemsize)
        return Schedule([*rounds, unfold(rank, group, 0, d)], home=d)


class BruckAllGather(AllGather):
    """Twice as many chunks from twice as far in every step: ceil(log2 p) steps for every p."""

    @staticmethod
    def schedule(rank: int, p: int, d: int, itemsize: int) -> Schedule:
        """Return the schedule; after step k, a rank has the 2^k chunks from its own on."""
        rounds, have = [], 1
        while have < p:
            n, to, source = min(have, p - have), (rank - have) % p, (rank + have) % p
            rounds.append(
                Round(
                    tuple(Piece(to, *span) for span in arc(rank, n, p, d)),
                    tuple(Piece(source, *span) for span in arc(source, n, p, d)),
                )
            )
            have += n
        return Schedule(rounds, home=d)


def arc(first: int, n: int, p: int, d: int) -> list[Span]:
    """Return the elements of n chunks from `first` on, in two spans if they wrap around."""
    edges, last = even(0, d, p), first + n
    spans = [(edges[first], edges[min(last, p)]), (0, edges[max(last - p, 0)])]
    return [(lo, hi) for lo, hi in spans if hi > lo]
