"""Recursive doubling in worker order: a sum with the same bits for every placement of workers.

Thakur, Rabenseifner, Gropp: Optimization of Collective Communication Operations in MPICH,
Int. J. High Perform. Comput. Appl. 2005, section 4.5, for the exchange between ranks.
Symbols: p ranks, m = floor(log2 p), parts the sums of the tree nodes (sums.py) that a rank stores.
Departures: (1) the order of adds is fixed by the canonical tree over the W workers, not by the
ranks: a rank whose workers are not one whole node of the tree sends the sums of several nodes in
one message, and two sums are added only where the tree adds them; (2) the ranks that fold are
spread over all ranks instead of being the first ones, so that one part is enough with one worker a
rank.

    p = 6:   1. fold     2 -> 1, 5 -> 4        ranks 0, 1, 3, 4 go on
             2. double   0 <-> 1, 3 <-> 4      then 0 <-> 3, 1 <-> 4
             3. unfold   1 -> 2, 4 -> 5

Rank r belongs to group g with g p >> m <= r < (g + 1) p >> m. The 2^m groups of one or two ranks
are the nodes of level m of the tree over p. The second rank of a group folds: it sends its part to
the first, the leader, and receives the result.

With W = p, over all ranks: m 2^m + 2 (p - 2^m) messages of the whole vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from algorithms.wire.carrier import Scheduled
from algorithms.wire.schedule import Op, Piece, Round, Schedule, divide
from algorithms.wire.sums import Span, cover

Adds: TypeAlias = list[tuple[int, int]]


@dataclass(frozen=True)
class Meeting:
    """One exchange of parts with a partner, each way or only one."""

    partner: int
    mine: list[Span]
    theirs: list[Span]
    speaks: bool
    listens: bool


def merge(mine: list[Span], theirs: list[Span], total: int) -> tuple[list[Span], list[int], Adds]:
    """The spans of two adjacent sets after all adds of the tree between them, where, and the adds.

    Two parts are added where the tree adds their spans; the sum stays in the lower-numbered one,
    mine before theirs, since a + b is b + a to the bit.
    """
    number = {span: i for i, span in enumerate(mine + theirs)}
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


def meetings(rank: int, bounds: list[int]) -> list[Meeting]:
    """Whom this rank meets, with what: fold, then double."""
    p, total = len(bounds) - 1, bounds[-1]
    held = [list(cover(total, bounds[r], bounds[r + 1])) for r in range(p)]
    all_groups, found = groups(p), []

    def meet(me: int, partner: int, speaks: bool = True, listens: bool = True) -> list[Span]:
        """What `me` holds afterwards; noted if it is this rank."""
        mine, theirs = held[me], held[partner]
        if me == rank:
            found.append(Meeting(partner, mine, theirs, speaks, listens))
        return merge(mine, theirs, total)[0] if listens else mine

    for first, second in (group for group in all_groups if len(group) == 2):
        meet(second, first, listens=False)
        held[first] = meet(first, second, speaks=False)
    leaders = [group[0] for group in all_groups]
    for stride in (2**j for j in range(len(leaders).bit_length() - 1)):
        after = [meet(me, leaders[v ^ stride]) for v, me in enumerate(leaders)]
        for leader, merged in zip(leaders, after, strict=True):
            held[leader] = merged
    return found


class RecursiveDoubling(Scheduled):
    """log2(p) exchanges of the whole vector; sums in worker order, independent of placement."""

    @staticmethod
    def schedule(rank: int, bounds: list[int], d: int, itemsize: int) -> Schedule:
        """The home: two benches for the parts held, in turn, and an inbox for the partner's."""
        p, total = len(bounds) - 1, bounds[-1]
        own = list(cover(total, bounds[rank], bounds[rank + 1]))
        planned = [(x, merge(x.mine, x.theirs, total)) for x in meetings(rank, bounds)]
        most = max([len(own), *(max(len(x.mine), len(after)) for x, (after, _, _) in planned)])
        bench, spare, inbox = 0, most * d, 2 * most * d
        rounds = []
        for x, (_, kept, adds) in planned:
            rows = [bench + i * d for i in range(len(x.mine))]
            rows += [inbox + i * d for i in range(len(x.theirs))]
            sends = (Piece(x.partner, bench, bench + len(x.mine) * d),) if x.speaks else ()
            if not x.listens:
                rounds.append(Round(sends))
                continue
            ops = [Op("add", rows[i], d, rows[j]) for i, j in adds]
            if kept != list(range(len(kept))) or len(kept) > len(x.mine):
                ops += [Op("copy", spare + k * d, d, rows[i]) for k, i in enumerate(kept)]
                bench, spare = spare, bench
            receives = (Piece(x.partner, inbox, inbox + len(x.theirs) * d),)
            rounds.append(Round(sends, receives, tuple(ops)))
        group = groups(p)[group_of(rank, p)]
        if rank == group[0]:
            if bench:
                rounds.append(Round(then=(Op("copy", 0, d, bench),)))
            rounds.append(divide(0, d))
        rounds.append(unfold(rank, group, 0, d))
        received = max((len(x.theirs) for x, _ in planned if x.listens), default=0)
        return Schedule(rounds, home=inbox + received * d, spans=tuple(own))


def groups(p: int) -> list[range]:
    """The ranks of each of the 2^m groups, one or two."""
    m = p.bit_length() - 1
    return [range(g * p >> m, (g + 1) * p >> m) for g in range(2**m)]


def group_of(rank: int, p: int) -> int:
    """The group of a rank."""
    m = p.bit_length() - 1
    return ((rank + 1 << m) - 1) // p


def fold(rank: int, group: range, lo: int, hi: int) -> Round:
    """The second of a group hands [lo, hi) to the first, which adds it."""
    if len(group) == 1:
        return Round()
    if rank == group[0]:
        return Round(receives=(Piece(group[1], lo, hi, add=True),))
    return Round(sends=(Piece(group[0], lo, hi),))


def unfold(rank: int, group: range, lo: int, hi: int) -> Round:
    """The first of a group hands [lo, hi) to the second."""
    if len(group) == 1:
        return Round()
    if rank == group[0]:
        return Round(sends=(Piece(group[1], lo, hi),))
    return Round(receives=(Piece(group[0], lo, hi),))
