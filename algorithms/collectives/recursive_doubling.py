"""Recursive doubling in worker order: the same sum to the bit wherever the workers live.

Thakur, Rabenseifner, Gropp: Optimization of Collective Communication Operations in MPICH,
Int. J. High Perform. Comput. Appl. 2005, section 4.5, for the exchange between ranks.
Symbols: p ranks, m = floor(log2 p), parts the sums of the tree nodes (tree.py) a rank holds.
Departures: (1) what is added is fixed by the canonical tree over the W workers, not by the ranks:
a rank whose workers are not one whole node of the tree sends the sums of several nodes, and two
sums are added only where the tree adds them; (2) of the p - 2^m extra ranks the odd one of each
of the first pairs hands its parts to its neighbour and gets the result back.

    p = 6:   1. fold     1 -> 0, 3 -> 2        0 | 2 | 4 | 5 go on
             2. double   0 <-> 2, 4 <-> 5      then 0 <-> 4, 2 <-> 5
             3. unfold   0 -> 1, 2 -> 3

With W = p = 2^m: m messages of the whole vector a rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from algorithms.collectives.tree import Span, cover
from algorithms.meter import COPY, WAIT, Meter

if TYPE_CHECKING:
    from mpi4py import MPI

Adds: TypeAlias = list[tuple[int, int]]


@dataclass(frozen=True)
class Round:
    """One exchange with a partner, planned; parts are numbered through, mine first."""

    partner: int
    held: int
    """How many parts are mine."""
    sent: int
    """How many of mine go out: all or, to a rank that folds into me, none."""
    received: int
    """How many come in: all of the partner's or, where I fold into it, none."""
    adds: Adds
    """(i, j): part i += part j."""
    kept: list[int] | None
    """The parts that go on, ascending in the workers they cover; None where they lie so already."""


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


def schedule(rank: int, bounds: list[int]) -> tuple[list[Span], list[Round], int | None]:
    """This rank's spans, its rounds, and the rank it hands the result to or gets it from."""
    p, total = len(bounds) - 1, bounds[-1]
    spans = [list(cover(total, bounds[r], bounds[r + 1])) for r in range(p)]
    own, rounds = spans[rank], []

    def meet(me: int, partner: int, listen: bool = True, speak: bool = True) -> list[Span]:
        """What `me` holds after the exchange; planned if it is this rank."""
        mine, theirs = spans[me], spans[partner]
        after, kept, adds = merge(mine, theirs, total) if listen else (mine, [], [])
        if me == rank:
            sent, received = len(mine) * speak, len(theirs) * listen
            in_order = len(kept) <= len(mine) and kept == list(range(len(kept)))
            rounds.append(
                Round(partner, len(mine), sent, received, adds, None if in_order else kept)
            )
        return after

    extra = p - 2 ** (p.bit_length() - 1)
    for r in range(0, 2 * extra, 2):
        meet(r + 1, r, listen=False)
        spans[r] = meet(r, r + 1, speak=False)
    leaders = [2 * i if i < extra else i + extra for i in range(p - extra)]
    for stride in (2**j for j in range(len(leaders).bit_length() - 1)):
        after = [meet(me, leaders[v ^ stride]) for v, me in enumerate(leaders)]
        for leader, merged in zip(leaders, after, strict=True):
            spans[leader] = merged
    return own, rounds, rank ^ 1 if rank < 2 * extra else None


class RecursiveDoubling:
    """log2(p) exchanges of the whole vector; sums in worker order, independent of placement."""

    def __init__(
        self,
        comm: MPI.Intracomm,
        d: int,
        dtype: np.dtype[np.floating],
        bounds: list[int],
        meter: Meter,
    ) -> None:
        self._comm, self._meter = comm, meter
        self.spans, self._rounds, self._pair = schedule(comm.rank, bounds)
        most = max(len(self.spans), *(max(x.held, len(x.kept or ())) for x in self._rounds), 0)
        self._mine = np.zeros((most, d), dtype)
        self._inbox = np.empty((max((x.received for x in self._rounds), default=0), d), dtype)
        reorders = any(x.kept for x in self._rounds)
        self._spare = np.empty((most, d), dtype) if reorders else self._mine
        self.parts = list(self._mine[: len(self.spans)])

    def __call__(self, divisor: int = 1) -> None:
        """Collective: parts[0] becomes the sum over the ranks, over divisor."""
        result, mine, spare = self.parts[0], self._mine, self._spare
        for plan in self._rounds:
            self._trade(plan, mine)
            if self._merge(plan, mine, spare):
                mine, spare = spare, mine
        folded = self._pair is not None and self._comm.rank % 2 == 1
        if not folded and (divisor != 1 or mine is not self._mine):
            np.divide(mine[0], divisor, out=result)
            self._meter.lap(COPY)
        if self._pair is None:
            return
        if folded:
            self._comm.Recv(result, self._pair)
        else:
            self._comm.Send(result, self._pair)
            self._meter.sent(result.nbytes)
        self._meter.lap(WAIT)

    def _trade(self, plan: Round, mine: NDArray[np.floating]) -> None:
        """Swap parts with the partner; between a folding pair they go one way."""
        sent, inbox = mine[: plan.sent], self._inbox[: plan.received]
        if plan.sent and plan.received:
            self._comm.Sendrecv(sent, plan.partner, recvbuf=inbox, source=plan.partner)
        elif plan.received:
            self._comm.Recv(inbox, plan.partner)
        else:
            self._comm.Send(sent, plan.partner)
        if plan.sent:
            self._meter.sent(sent.nbytes)
        self._meter.lap(WAIT)

    def _merge(self, plan: Round, mine: NDArray[np.floating], spare: NDArray[np.floating]) -> bool:
        """Do the planned adds; return whether the parts now lie in `spare`."""
        inbox = self._inbox
        for i, j in plan.adds:
            left = mine[i] if i < plan.held else inbox[i - plan.held]
            left += mine[j] if j < plan.held else inbox[j - plan.held]
        for row, i in enumerate(plan.kept or ()):
            spare[row] = mine[i] if i < plan.held else inbox[i - plan.held]
        self._meter.lap(COPY)
        return plan.kept is not None

    def close(self) -> None:
        """Nothing to release."""
