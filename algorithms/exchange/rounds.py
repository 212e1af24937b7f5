"""Rounds between workers: routes of rows, the plan of each rank, and rows in flight.

Rows are stored in slots, one a worker or one a link; consecutive slots belong to one rank. Every
rank derives all routes from the links alone, without a message. A row that several slots of a rank
need crosses once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from algorithms.topologies.protocol import Links
from algorithms.wire.meter import COPY, OTHER, WAIT, Meter

if TYPE_CHECKING:
    from mpi4py import MPI

    from algorithms.exchange.trouble import Shaper


@dataclass(frozen=True, eq=False)
class Routes:
    """Route e takes the row in slot source[e] to slot target[e]; sorted by target, then source.

    source, target: (E,) int64. Rank r owns the slots [bounds[r], bounds[r + 1]) on either side.
    """

    source: NDArray[np.int64]
    target: NDArray[np.int64]
    source_bounds: Sequence[int]
    target_bounds: Sequence[int]
    sender: NDArray[np.int64]
    """(E,) the worker that each row comes from."""
    receiver: NDArray[np.int64]
    """(E,) the worker that each row goes to."""

    def only(self, kept: NDArray[np.bool_]) -> Routes:
        """Those routes of which kept, (E,), is true; slots stay as they are."""
        return Routes(
            self.source[kept],
            self.target[kept],
            self.source_bounds,
            self.target_bounds,
            self.sender[kept],
            self.receiver[kept],
        )


def between_workers(links: Links, bounds: Sequence[int]) -> Routes:
    """From the row of a worker to the row of a worker; rank r hosts [bounds[r], bounds[r + 1])."""
    return Routes(links.source, links.target, bounds, bounds, links.source, links.target)


def to_links(links: Links, bounds: Sequence[int]) -> Routes:
    """From the row of a worker to a row of its own for every link into a worker."""
    slots = np.arange(len(links.target))
    arriving = np.searchsorted(links.target, bounds).tolist()
    return Routes(links.source, slots, bounds, arriving, links.source, links.target)


def along_links(links: Links, bounds: Sequence[int]) -> Routes:
    """From a row for every link out of a worker to a row for every link into a worker.

    Rows that leave are sorted by sender, then receiver; those that arrive by receiver, then
    sender.
    """
    leaving = np.lexsort((links.target, links.source))
    place = np.empty_like(leaving)
    place[leaving] = np.arange(len(leaving))
    departing = np.searchsorted(links.source[leaving], bounds).tolist()
    arriving = np.searchsorted(links.target, bounds).tolist()
    slots = np.arange(len(leaving))
    return Routes(place, slots, departing, arriving, links.source, links.target)


Index = slice | NDArray[np.int64]
BLOCK_BYTES = 256 * 1024
"""Scattered rows are added in blocks of this size: the temporary stays in the cache."""


def _blocks(
    out: NDArray[np.int64], row: NDArray[np.int64], row_bytes: int
) -> list[tuple[Index, Index, slice]]:
    """(into out, from row, their place in the two arrays) that cover the arrays, in order.

    Slices where both run in step, short index arrays where they are scattered.
    """
    if not len(out):
        return []
    breaks = np.flatnonzero((np.diff(out) != 1) | (np.diff(row) != 1)) + 1
    scattered = (len(breaks) + 1) * 4 > len(out)
    if scattered:
        breaks = np.arange(step := max(1, BLOCK_BYTES // row_bytes), len(out), step)
    edges = [0, *breaks.tolist(), len(out)]
    blocks: list[tuple[Index, Index, slice]] = []
    for a, b in pairwise(edges):
        if scattered:
            blocks.append((out[a:b], row[a:b], slice(a, b)))
        else:
            to, source = int(out[a]), int(row[a])
            blocks.append((slice(to, to + b - a), slice(source, source + b - a), slice(a, b)))
    return blocks


class Weights:
    """What a worker makes of what it hears: own[i] x_i + sum over routes e of weight[e] x_source.

    own: (W,); weight: (E,), in the order of the routes.
    """

    def __init__(
        self, own: NDArray[np.floating], weight: NDArray[np.floating], dtype: np.dtype[Any]
    ) -> None:
        self.own = own.astype(dtype)
        self.weight = weight.astype(dtype)
        first = self.own[0]
        self.equal = first if (self.own == first).all() and (self.weight == first).all() else None
        """The one weight of all, where it is one: then it is applied to the sum."""


class RowPlan:
    """The part of one rank in a round over `routes`, for rows of d elements.

    With weights, the rows of a worker are its own slots, and out is theirs and those it hears of.
    """

    def __init__(
        self,
        routes: Routes,
        rank: int,
        d: int,
        dtype: np.dtype[Any],
        weights: Weights | None = None,
    ) -> None:
        self.routes, self._rank, self._weights = routes, rank, weights
        lo, hi = routes.source_bounds[rank], routes.source_bounds[rank + 1]
        first, last = routes.target_bounds[rank], routes.target_bounds[rank + 1]
        ranks = len(routes.source_bounds) - 1
        giver = np.searchsorted(routes.source_bounds, routes.source, side="right") - 1
        taker = np.searchsorted(routes.target_bounds, routes.target, side="right") - 1
        to_me, mine = taker == rank, giver == rank
        row_bytes = d * dtype.itemsize

        self.sends: list[tuple[int, Index, NDArray[Any]]] = []
        """(rank, which of my rows, where they are packed unless they are a slice)."""
        for q in np.unique(taker[mine & ~to_me]).tolist():
            wanted = np.unique(routes.source[mine & (taker == q)]) - lo
            run = len(wanted) == wanted[-1] - wanted[0] + 1
            index = slice(int(wanted[0]), int(wanted[-1]) + 1) if run else wanted
            self.sends.append((q, index, np.empty((0 if run else len(wanted), d), dtype)))

        far = np.unique(routes.source[to_me & ~mine])
        self._inbox = np.empty((len(far), d), dtype)
        edges = np.searchsorted(far, routes.source_bounds)
        self.receives = [
            (q, self._inbox[edges[q] : edges[q + 1]])
            for q in range(ranks)
            if edges[q] < edges[q + 1]
        ]
        self.bytes_copied = int((to_me & mine).sum()) * row_bytes

        source, target = routes.source[to_me], routes.target[to_me] - first
        heard = np.bincount(target, minlength=last - first)
        turn = np.arange(len(target)) - np.repeat(np.cumsum(heard) - heard, heard)
        near = (source >= lo) & (source < hi)
        row = np.where(near, source - lo, np.searchsorted(far, source))
        here = np.ones(0, dtype) if weights is None else weights.weight[to_me]
        self.silent = np.flatnonzero(heard == 0)
        self._turns: list[tuple[bool, list[tuple[Index, Index, NDArray[Any]]]]] = []
        """The j-th row of every slot that has one, near ones, then far ones; with their weights."""
        for j in range(int(heard.max(initial=0))):
            for is_near in (True, False):
                chosen = (turn == j) & (near == is_near)
                share = here[chosen][:, None] if weights else here
                blocks = [
                    (into, origin, share[at])
                    for into, origin, at in _blocks(target[chosen], row[chosen], row_bytes)
                ]
                self._turns.append((is_near, blocks))
        self.direct = last - first == 1 and len(far) == 1 and len(source) == 1
        """One slot that hears from one other rank: the row is received in its place."""

    def start(
        self,
        comm: MPI.Intracomm,
        rows: NDArray[Any],
        out: NDArray[Any],
        meter: Meter,
    ) -> list[MPI.Request]:
        """Post all receives, then all sends."""
        requests = [
            comm.Irecv(out if self.direct else inbox, source=q) for q, inbox in self.receives
        ]
        for q, index, packed in self.sends:
            if isinstance(index, slice):
                message = rows[index]
            else:
                message = np.take(rows, index, axis=0, out=packed, mode="clip")
                meter.lap(COPY)
            requests.append(comm.Isend(message, dest=q))
            meter.sent(message.nbytes, q)
            meter.lap(WAIT)
        return requests

    def add_up(self, rows: NDArray[Any], out: NDArray[Any], keep: bool) -> None:
        """Fill out from the rows of this rank and those that arrived, ascending by sender.

        A slot that hears nothing becomes 0; with `keep` it stays as it was.
        """
        weights = self._weights
        scaled = weights is not None and weights.equal is None
        if not keep:
            out[self.silent] = 0
        if self.direct:
            if scaled:
                assert weights is not None
                out *= self._turns[1][1][0][2]
        else:
            for j, (is_near, blocks) in enumerate(self._turns):
                table = rows if is_near else self._inbox
                for into, row, share in blocks:
                    arrived = table[row] * share if scaled else table[row]
                    if j < 2:
                        out[into] = arrived
                    else:
                        out[into] += arrived
        if weights is None:
            return
        if weights.equal is not None:
            out += rows
            out *= weights.equal
        else:
            lo = self.routes.target_bounds[self._rank]
            out += rows * weights.own[lo : lo + len(rows), None]


class StartedPull:
    """Rows in flight."""

    def __init__(
        self,
        plan: RowPlan,
        rows: NDArray[Any],
        out: NDArray[Any],
        *,
        comm: MPI.Intracomm,
        meter: Meter,
        shaper: Shaper | None,
        keep: bool,
        done: Callable[[], None],
    ) -> None:
        self._plan, self._meter, self._done = plan, meter, done
        self._rows, self.result, self._keep = rows, out, keep
        self._requests = plan.start(comm, rows, out, meter)
        self._due = (
            shaper.send(plan.routes.sender, plan.routes.receiver, rows[:1].nbytes)
            if shaper
            else None
        )

    def finish(self) -> None:
        """Wait for every message, then fill `out`."""
        self._meter.lap(OTHER)
        if self._requests:
            self._requests[0].Waitall(self._requests)
        if self._due:
            self._due()
        self._meter.lap(WAIT, self._plan.receives)
        self._plan.add_up(self._rows, self.result, self._keep)
        self._meter.bytes_copied += self._plan.bytes_copied
        self._done()
        self._meter.lap(COPY)
