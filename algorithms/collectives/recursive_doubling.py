"""Recursive doubling in worker order: a sum with the same bits for every placement of workers.

Thakur, Rabenseifner, Gropp: Optimization of Collective Communication Operations in MPICH,
Int. J. High Perform. Comput. Appl. 2005, section 4.5, for the exchange between ranks.
Symbols: p ranks, m = floor(log2 p), parts the sums of the tree nodes (sums.py) that a rank stores.
Departures: (1) the order of adds is fixed by the canonical tree over the W workers, not by the
ranks: a rank whose workers are not one whole node of the tree sends the sums of several nodes in
one message, and two sums are added only if the tree adds them; (2) the ranks that fold are spread
over all ranks instead of being the first ones, so that one part suffices with one worker per
rank.

    p = 6:   1. fold     2 -> 1, 5 -> 4        ranks 0, 1, 3, 4 continue
             2. double   0 <-> 1, 3 <-> 4      then 0 <-> 3, 1 <-> 4
             3. unfold   1 -> 2, 4 -> 5

Rank r belongs to group g with g p >> m <= r < (g + 1) p >> m. The 2^m groups of one or two ranks
are the nodes of level m of the tree over p. The second rank of a group folds: it sends its part to
the first, the leader, and receives the result.

With W = p, all ranks together send m 2^m + 2 (p - 2^m) messages of the whole vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from algorithms.wire.carrier import Scheduled
from algorithms.wire.placement import Placement
from algorithms.wire.schedule import Op, Piece, Round, Schedule, divide
from algorithms.wire.sums import Span, cover

Adds: TypeAlias = list[tuple[int, int]]


@dataclass(frozen=True)
class PartExchange:
    """One exchange of parts with a partner, in one direction or both."""

    partner: int
    local: list[Span]
    remote: list[Span]
    sends: bool
    receives: bool


def merge(local: list[Span], remote: list[Span], total: int) -> tuple[list[Span], list[int], Adds]:
    """Return the spans of two adjacent sets after all additions of the tree between them.

    Returns the spans, the index of the part that holds the sum of each, and the additions. Parts
    are numbered local before remote. Two parts are added if the tree adds their spans; the sum
    stays in the part with the lower number, since a + b equals b + a to the bit.
    """
    number = {span: i for i, span in enumerate(local + remote)}
    after = list(cover(total, min(number)[0], max(number)[1]))
    adds: Adds = []

    def sum_of(lo: int, hi: int, level: int = 0, index: int = 0) -> int:
        if (lo, hi) in number:
            return number[lo, hi]
        middle = (2 * index + 1) * total >> (level + 1)
        if middle <= lo:
            return sum_of(lo, hi, level + 1, 2 * index + 1)
        if hi <= middle:
            return sum_of(lo, hi, level + 1, 2 * index)
        left = sum_of(lo, middle, level + 1, 2 * index)
        right = sum_of(middle, hi, level + 1, 2 * index + 1)
        adds.append((min(left, right), max(left, right)))
        return min(left, right)

    return after, [sum_of(lo, hi) for lo, hi in after], adds


def part_exchanges(rank: int, placement: Placement) -> list[PartExchange]:
    """Return the exchanges of this rank in order: fold, then double."""
    p, total = placement.ranks, placement.total
    spans = [list(cover(total, *placement.span(r))) for r in range(p)]
    all_groups, exchanges = groups(p), []

    def exchange(me: int, partner: int, sends: bool = True, receives: bool = True) -> list[Span]:
        """Return the spans of rank `me` after the exchange; record it if `me` is this rank."""
        local, remote = spans[me], spans[partner]
        if me == rank:
            exchanges.append(PartExchange(partner, local, remote, sends, receives))
        return merge(local, remote, total)[0] if receives else local

    for first, second in (group for group in all_groups if len(group) == 2):
        exchange(second, first, receives=False)
        spans[first] = exchange(first, second, sends=False)
    leaders = [group[0] for group in all_groups]
    for stride in (2**j for j in range(len(leaders).bit_length() - 1)):
        after = [exchange(me, leaders[v ^ stride]) for v, me in enumerate(leaders)]
        for leader, result in zip(leaders, after, strict=True):
            spans[leader] = result
    return exchanges


class RecursiveDoubling(Scheduled):
    """log2(p) exchanges of the whole vector; sums in worker order, independent of placement."""

    @staticmethod
    def schedule(rank: int, placement: Placement, d: int, itemsize: int) -> Schedule:
        """Return the schedule; the parts alternate between two buffers, then follows an inbox."""
        p, total = placement.ranks, placement.total
        own = list(cover(total, *placement.span(rank)))
        steps = [(x, merge(x.local, x.remote, total)) for x in part_exchanges(rank, placement)]
        most = max([len(own), *(max(len(x.local), len(after)) for x, (after, _, _) in steps)])
        buffer, spare, inbox = 0, most * d, 2 * most * d
        rounds = []
        for x, (_, indices, adds) in steps:
            rows = [buffer + i * d for i in range(len(x.local))]
            rows += [inbox + i * d for i in range(len(x.remote))]
            sends = (Piece(x.partner, buffer, buffer + len(x.local) * d),) if x.sends else ()
            if not x.receives:
                rounds.append(Round(sends))
                continue
            ops = [Op("add", rows[i], d, rows[j]) for i, j in adds]
            if indices != list(range(len(indices))) or len(indices) > len(x.local):
                ops += [Op("copy", spare + k * d, d, rows[i]) for k, i in enumerate(indices)]
                buffer, spare = spare, buffer
            receives = (Piece(x.partner, inbox, inbox + len(x.remote) * d),)
            rounds.append(Round(sends, receives, tuple(ops)))
        group = groups(p)[group_of(rank, p)]
        if rank == group[0]:
            if buffer:
                rounds.append(Round(then=(Op("copy", 0, d, buffer),)))
            rounds.append(divide(0, d))
        rounds.append(unfold(rank, group, 0, d))
        slots = max((len(x.remote) for x, _ in steps if x.receives), default=0)
        return Schedule(rounds, home=inbox + slots * d, spans=tuple(own))


def groups(p: int) -> list[range]:
    """Return the one or two ranks of each of the 2^m groups."""
    m = p.bit_length() - 1
    return [range(g * p >> m, (g + 1) * p >> m) for g in range(2**m)]


def group_of(rank: int, p: int) -> int:
    """Return the index of the group of a rank."""
    m = p.bit_length() - 1
    return ((rank + 1 << m) - 1) // p


def fold(rank: int, group: range, lo: int, hi: int) -> Round:
    """Return the round in which the second rank sends [lo, hi) to the first, which adds it."""
    if len(group) == 1:
        return Round()
    if rank == group[0]:
        return Round(receives=(Piece(group[1], lo, hi, add=True),))
    return Round(sends=(Piece(group[0], lo, hi),))


def unfold(rank: int, group: range, lo: int, hi: int) -> Round:
    """Return the round in which the first rank of a group sends [lo, hi) to the second."""
    if len(group) == 1:
        return Round()
    if rank == group[0]:
        return Round(sends=(Piece(group[1], lo, hi),))
    return Round(receives=(Piece(group[0], lo, hi),))
