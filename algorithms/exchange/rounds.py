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
from algorithms.wire.bfloat16 import ENCODED, decode, encode, round_in_place
from algorithms.wire.meter import COPY, OTHER, WAIT, Meter
from algorithms.wire.placement import Placement
from algorithms.wire.waiting import wait

if TYPE_CHECKING:
    from mpi4py import MPI

    from algorithms.exchange.shaper import Delays


@dataclass(frozen=True, eq=False)
class Routes:
    """Routes of rows from slot source[e] to slot target[e], sorted by target, then source.

    source, target: (E,) int64. Rank r stores the slots [bounds[r], bounds[r + 1]) on each side.
    """

    source: NDArray[np.int64]
    target: NDArray[np.int64]
    source_bounds: Sequence[int]
    target_bounds: Sequence[int]
    sender: NDArray[np.int64]
    """(E,) int64, the sender of each row."""
    receiver: NDArray[np.int64]
    """(E,) int64, the receiver of each row."""

    def only(self, mask: NDArray[np.bool_]) -> Routes:
        """Return the routes of a mask, (E,) bool, with the same slots."""
        return Routes(
            self.source[mask],
            self.target[mask],
            self.source_bounds,
            self.target_bounds,
            self.sender[mask],
            self.receiver[mask],
        )


def between_workers(links: Links, placement: Placement) -> Routes:
    """Return routes from workers to workers."""
    bounds = placement.bounds
    return Routes(links.source, links.target, bounds, bounds, links.source, links.target)


def to_links(links: Links, placement: Placement) -> Routes:
    """Return routes from workers to incoming links: a row of its own for every link."""
    slots = np.arange(len(links.target))
    arriving = np.searchsorted(links.target, placement.bounds).tolist()
    return Routes(links.source, slots, placement.bounds, arriving, links.source, links.target)


def along_links(links: Links, placement: Placement) -> Routes:
    """Return routes from outgoing to incoming links.

    Outgoing rows are sorted by sender, then receiver, incoming rows by receiver, then sender.
    """
    leaving = np.lexsort((links.target, links.source))
    place = np.empty_like(leaving)
    place[leaving] = np.arange(len(leaving))
    departing = np.searchsorted(links.source[leaving], placement.bounds).tolist()
    arriving = np.searchsorted(links.target, placement.bounds).tolist()
    slots = np.arange(len(leaving))
    return Routes(place, slots, departing, arriving, links.source, links.target)


Index = slice | NDArray[np.int64]
BLOCK_BYTES = 256 * 1024
"""Block size of adds of scattered rows, so that the temporary array stays in the cache."""


def _blocks(
    out: NDArray[np.int64], row: NDArray[np.int64], row_bytes: int
) -> list[tuple[Index, Index, slice]]:
    """Return (index of out, index of row, slice of both arrays) of blocks that cover the arrays.

    Indices are slices if both arrays ascend by one, and short index arrays if scattered.
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
    """Weights of a round: x_i <- own[i] x_i + the sum of weight[e] x_source over routes e.

    own: (W,); weight: (E,), in the order of the routes.
    """

    def __init__(
        self, own: NDArray[np.floating], weight: NDArray[np.floating], dtype: np.dtype[Any]
    ) -> None:
        self.own = own.astype(dtype)
        self.weight = weight.astype(dtype)
        first = self.own[0]
        self.equal = first if (self.own == first).all() and (self.weight == first).all() else None
        """The common weight if all are equal, applied once to the sum; else None."""


class RowPlan:
    """Plan of one rank for a round over `routes`, with rows of d elements.

    With weights, sources and targets are workers, and out also gets the weighted own rows.
    encoded: rows of float32 travel as bfloat16, also between workers of one rank.
    """

    def __init__(
        self,
        routes: Routes,
        rank: int,
        d: int,
        dtype: np.dtype[Any],
        weights: Weights | None = None,
        *,
        encoded: bool = False,
    ) -> None:
        self._encoded, travels = encoded, ENCODED if encoded else dtype
        self.routes, self._rank, self._weights = routes, rank, weights
        lo, hi = routes.source_bounds[rank], routes.source_bounds[rank + 1]
        first, last = routes.target_bounds[rank], routes.target_bounds[rank + 1]
        ranks = len(routes.source_bounds) - 1
        sender = np.searchsorted(routes.source_bounds, routes.source, side="right") - 1
        receiver = np.searchsorted(routes.target_bounds, routes.target, side="right") - 1
        incoming, outgoing = receiver == rank, sender == rank
        row_bytes = self.row_bytes = d * travels.itemsize
        """Size of a row on its way."""

        self.sends: list[tuple[int, Index, NDArray[Any]]] = []
        """(rank, index of local rows, memory to pack them unless they are a slice)."""
        for q in np.unique(receiver[outgoing & ~incoming]).tolist():
            index = np.unique(routes.source[outgoing & (receiver == q)]) - lo
            run = len(index) == index[-1] - index[0] + 1
            rows: Index = slice(int(index[0]), int(index[-1]) + 1) if run else index
            packed = np.empty((0 if run and not encoded else len(index), d), travels)
            self.sends.append((q, rows, packed))

        far = np.unique(routes.source[incoming & ~outgoing])
        self._inbox = np.empty((len(far), d), travels)
        edges = np.searchsorted(far, routes.source_bounds)
        self.receives = [
            (q, self._inbox[edges[q] : edges[q + 1]])
            for q in range(ranks)
            if edges[q] < edges[q + 1]
        ]
        self._arrived = np.empty((len(far) if encoded else 0, d), dtype)
        self.bytes_copied = int((incoming & outgoing).sum()) * row_bytes

        self._near = np.empty((hi - lo if encoded and self.bytes_copied else 0, d), dtype)

        source, target = routes.source[incoming], routes.target[incoming] - first
        in_degree = np.bincount(target, minlength=last - first)
        position = np.arange(len(target)) - np.repeat(np.cumsum(in_degree) - in_degree, in_degree)
        near = (source >= lo) & (source < hi)
        row = np.where(near, source - lo, np.searchsorted(far, source))
        here = np.ones(0, dtype) if weights is None else weights.weight[incoming]
        self.silent = np.flatnonzero(in_degree == 0)
        self._terms: list[tuple[bool, list[tuple[Index, Index, NDArray[Any]]]]] = []
        """Blocks of the j-th row of every slot, local rows first, with their weights."""
        for j in range(int(in_degree.max(initial=0))):
            for is_near in (True, False):
                selected = (position == j) & (near == is_near)
                share = here[selected][:, None] if weights else here
                blocks = [
                    (into, origin, share[at])
                    for into, origin, at in _blocks(target[selected], row[selected], row_bytes)
                ]
                self._terms.append((is_near, blocks))
        self.direct = last - first == 1 and len(far) == 1 and len(source) == 1 and not encoded
        """True if the only incoming row is received directly in its slot."""

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
            if self._encoded:
                message = packed
                for row, into in zip(rows[index], packed, strict=True):
                    encode(row, into)
                meter.lap(COPY)
            elif isinstance(index, slice):
                message = rows[index]
            else:
                message = np.take(rows, index, axis=0, out=packed, mode="clip")
                meter.lap(COPY)
            requests.append(comm.Isend(message, dest=q))
            meter.sent(message.nbytes, q)
            meter.lap(WAIT)
        return requests

    def add_up(self, rows: NDArray[Any], out: NDArray[Any], keep: bool) -> None:
        """Fill out from local rows and received rows, in ascending order of the sender.

        A slot without a row becomes 0; with `keep` it stays unchanged.
        """
        weights = self._weights
        scaled = weights is not None and weights.equal is None
        if not keep:
            out[self.silent] = 0
        if self.direct:
            if scaled:
                assert weights is not None
                out *= self._terms[1][1][0][2]
        else:
            near, inbox = rows, self._inbox
            if self._encoded:
                inbox, near = self._arrived, self._near
                decode(self._inbox.reshape(-1), inbox.reshape(-1))
                near[:] = rows[: len(near)]
                round_in_place(near)
            for j, (is_near, blocks) in enumerate(self._terms):
                table = near if is_near else inbox
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
    """Handle of rows in flight."""

    def __init__(
        self,
        plan: RowPlan,
        rows: NDArray[Any],
        out: NDArray[Any],
        *,
        comm: MPI.Intracomm,
        meter: Meter,
        shaper: Delays | None,
        keep: bool,
        done: Callable[[], None],
    ) -> None:
        self._plan, self._meter, self._done = plan, meter, done
        self._rows, self.result, self._keep = rows, out, keep
        self._requests = plan.start(comm, rows, out, meter)
        self._due = (
            shaper.send(plan.routes.sender, plan.routes.receiver, plan.row_bytes)
            if shaper
            else None
        )

    def finish(self) -> None:
        """Wait for every message and fill `out`; call once."""
        self._meter.lap(OTHER)
        wait(self._requests)
        if self._due:
            self._due()
        self._meter.lap(WAIT, self._plan.receives)
        self._plan.add_up(self._rows, self.result, self._keep)
        self._meter.bytes_copied += self._plan.bytes_copied
        self._done()
        self._meter.lap(COPY)
