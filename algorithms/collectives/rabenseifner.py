"""Rabenseifner's all-reduce: reduce-scatter by halving, all-gather by doubling.

Rabenseifner: Optimization of collective reduction operations, ICCS 2004; Thakur, Rabenseifner,
Gropp, Int. J. High Perform. Comput. Appl. 2005, section 4.5.
Symbols: p ranks, m = floor(log2 p), v this rank's group (recursive_doubling.py), chunk c the c-th
of 2^m nearly equal slices.
Departures: (1) of two ranks that share a group the second folds its whole vector, where the
papers fold halves; (2) exchanges of more than a segment go in pieces, so that adds overlap.

    p = 4    halving:   rank 0 trades halves with 2, then quarters with 1; it ends with chunk 0
             doubling:  the same way back, copying instead of adding

Sends 2 m messages and 2 (1 - 2^-m) d elements a leader; each of the p - 2^m folded ranks adds one
vector to its leader and one back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from algorithms.collectives.recursive_doubling import fold, group_of, groups, unfold
from algorithms.wire.carrier import Scheduled
from algorithms.wire.schedule import Edges, Round, Schedule, divide, even, swap

SEGMENT_BYTES = 512 * 1024


def halve(ranks: Sequence[int], v: int, edges: Edges, most: int) -> Iterator[Round]:
    """Reduce-scatter over 2^m ranks: chunk v becomes the sum; this rank is ranks[v]."""
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
    """All-gather over 2^m ranks: everyone gets chunk c of ranks[c]; this rank is ranks[v]."""
    width = 1
    while width < len(ranks):
        a = v // width * width
        other = a ^ width
        mine, theirs = (edges[a], edges[a + width]), (edges[other], edges[other + width])
        partner = ranks[v ^ width]
        yield from swap(partner, mine, partner, theirs, most, False)
        width *= 2


def all_reduce(rank: int, p: int, d: int, most: int) -> Schedule:
    """Fold, halve, double, unfold; exchanges in pieces of at most `most` elements."""
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
    """Halving, then doubling: 2 log2(p) messages, bandwidth-optimal at powers of two."""

    @staticmethod
    def schedule(rank: int, bounds: list[int], d: int, itemsize: int) -> Schedule:
        """Exchanges in pieces of a segment."""
        return all_reduce(rank, len(bounds) - 1, d, SEGMENT_BYTES // itemsize)
