"""Rabenseifner's all-reduce: reduce-scatter by halving, all-gather by doubling.

Rabenseifner: Optimization of collective reduction operations, ICCS 2004; Thakur, Rabenseifner,
Gropp, Int. J. High Perform. Comput. Appl. 2005, section 4.5.
Symbols: p ranks, m = floor(log2 p), v this rank's group (recursive_doubling.py), chunk c the c-th
of 2^m nearly equal slices.
Departures: (1) the second rank of a group of two folds its whole vector, while the papers fold
halves; (2) exchanges longer than a segment are sent in pieces, so that additions overlap with
messages.

    p = 4    halving:   rank 0 exchanges halves with 2, then quarters with 1; it ends with chunk 0
             doubling:  the same exchanges in reverse order, copying instead of adding

A leader sends 2 m messages with 2 (1 - 2^-m) d elements. In addition, each of the p - 2^m folded
ranks sends one vector to its leader and receives one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from algorithms.collectives.recursive_doubling import fold, group_of, groups, unfold
from algorithms.wire.carrier import Scheduled
from algorithms.wire.placement import Placement
from algorithms.wire.schedule import Edges, Round, Schedule, divide, even, swap

SEGMENT_BYTES = 512 * 1024


def halve(ranks: Sequence[int], v: int, edges: Edges, most: int) -> Iterator[Round]:
    """Yield the reduce-scatter of 2^m ranks that sums chunk v; this rank is ranks[v]."""
    a, b = 0, len(ranks)
    while b - a > 1:
        middle = (a + b) // 2
        low, high = (edges[a], edges[middle]), (edges[middle], edges[b])
        partner = ranks[v ^ (b - middle)]
        if v < middle:
            yield from swap(partner, high, partner, low, most, True)
            b = middle
        else:
            yield from swap(partner, low, partner, high, most, True)
            a = middle


def double(ranks: Sequence[int], v: int, edges: Edges, most: int) -> Iterator[Round]:
    """Yield the all-gather of 2^m ranks, chunk c from ranks[c]; this rank is ranks[v]."""
    width = 1
    while width < len(ranks):
        a = v // width * width
        other = a ^ width
        send, receive = (edges[a], edges[a + width]), (edges[other], edges[other + width])
        partner = ranks[v ^ width]
        yield from swap(partner, send, partner, receive, most, False)
        width *= 2


def all_reduce(rank: int, p: int, d: int, most: int) -> Schedule:
    """Return the schedule: fold, halve, double, unfold, in pieces of at most `most` elements."""
    v, all_groups = group_of(rank, p), groups(p)
    group, leaders = all_groups[v], [each[0] for each in all_groups]
    edges = even(0, d, len(leaders))
    rounds = [fold(rank, group, 0, d)]
    if rank == group[0]:
        rounds += [
            *halve(leaders, v, edges, most),
            divide(edges[v], edges[v + 1]),
            *double(leaders, v, edges, most),
        ]
    return Schedule([*rounds, unfold(rank, group, 0, d)], home=d)


class Rabenseifner(Scheduled):
    """Recursive halving, then doubling: 2 log2(p) messages, bandwidth-optimal for p = 2^m."""

    @staticmethod
    def schedule(rank: int, placement: Placement, d: int, itemsize: int) -> Schedule:
        """Return the schedule with exchanges in pieces of one segment."""
        return all_reduce(rank, placement.ranks, d, SEGMENT_BYTES // itemsize)
