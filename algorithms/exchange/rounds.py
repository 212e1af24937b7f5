"""Rounds between workers as schedules: routes of rows, and the sums of each rank.

Rows are stored in slots, one a worker or one a link; consecutive slots belong to one rank. Every
rank derives all routes from the links alone, without a message. A row that several slots of a rank
need crosses once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from algorithms.topologies.protocol import Links
from algorithms.wire.bfloat16 import ENCODED, decode, encode, round_in_place
from algorithms.wire.carrier import Carrier
from algorithms.wire.meter import Meter
from algorithms.wire.placement import Placement
from algorithms.wire.schedule import Piece, Round, Schedule

if TYPE_CHECKING:
    from mpi4py import MPI

TAG = 0
"""Tag of all rounds: their messages start with the call, in the same order on all ranks."""


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


@dataclass(frozen=True)
class Pack:
    """Copy of rows that are not consecutive, or travel as bfloat16, to the memory of messages."""

    index: NDArray[np.int64]
    """(n,) int64, local rows in the order of their messages."""

    def __call__(self, memory: Sequence[NDArray[Any]]) -> None:
        """Fill the messages from the rows."""
        rows, _, _, messages = memory[:4]
        if messages.dtype == rows.dtype:
            np.take(rows, self.index, axis=0, out=messages, mode="clip")
        else:
            for i, message in zip(self.index, messages, strict=True):
                encode(rows[i], message)


class LocalSum:
    """Sums of local rows and received rows, one a slot, in ascending order of the sender.

    A slot without a row becomes 0; with `keep` it stays unchanged. With weights, sources and
    targets are workers, and the sums also get the weighted own rows.
    """

    def __init__(
        self,
        routes: Routes,
        rank: int,
        far: NDArray[np.int64],
        d: int,
        dtype: np.dtype[Any],
        weights: Weights | None,
        *,
        keep: bool,
        encoded: bool,
    ) -> None:
        self._weights, self._encoded, self._keep = weights, encoded, keep
        lo, hi = self._span = routes.source_bounds[rank], routes.source_bounds[rank + 1]
        first, last = routes.target_bounds[rank], routes.target_bounds[rank + 1]
        incoming = (routes.target >= first) & (routes.target < last)
        source, target = routes.source[incoming], routes.target[incoming] - first
        in_degree = np.bincount(target, minlength=last - first)
        position = np.arange(len(target)) - np.repeat(np.cumsum(in_degree) - in_degree, in_degree)
        near = (source >= lo) & (source < hi)
        self.copied = int(near.sum())
        """Number of rows that come from this rank."""
        self._arrived = np.empty((len(far) if encoded else 0, d), dtype)
        self._near = np.empty((hi - lo if encoded and self.copied else 0, d), dtype)
        row = np.where(near, source - lo, np.searchsorted(far, source))
        here = np.ones(0, dtype) if weights is None else weights.weight[incoming]
        self._silent = np.flatnonzero(in_degree == 0)
        self._terms: list[tuple[bool, list[tuple[Index, Index, NDArray[Any]]]]] = []
        """Blocks of the j-th row of every slot, local rows first, with their weights."""
        row_bytes = d * (ENCODED if encoded else dtype).itemsize
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

    def __call__(self, memory: Sequence[NDArray[Any]]) -> None:
        """Fill the sums from the rows and the inbox."""
        rows, out, inbox = memory[:3]
        weights = self._weights
        scaled = weights is not None and weights.equal is None
        if not self._keep:
            out[self._silent] = 0
        if self.direct:
            if scaled:
                out *= self._terms[1][1][0][2]
        else:
            near = rows
            if self._encoded:
                decode(inbox.reshape(-1), self._arrived.reshape(-1))
                inbox, near = self._arrived, self._near
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
            out += rows * weights.own[slice(*self._span), None]


def schedule_of(
    routes: Routes,
    rank: int,
    d: int,
    dtype: np.dtype[Any],
    weights: Weights | None = None,
    *,
    keep: bool = False,
    encoded: bool = False,
) -> tuple[Schedule, int, int]:
    """Return the schedule of a rank for a round of rows of d elements: a pure function.

    Its home are the rows of the slots of sources, then those of the slots of targets, the inbox,
    and the messages that are packed. The numbers of rows of the last two are returned as well.
    encoded: rows of float32 travel as bfloat16, also between workers of one rank.
    """
    lo, hi = routes.source_bounds[rank], routes.source_bounds[rank + 1]
    slots = routes.target_bounds[rank + 1] - routes.target_bounds[rank]
    sender = np.searchsorted(routes.source_bounds, routes.source, side="right") - 1
    receiver = np.searchsorted(routes.target_bounds, routes.target, side="right") - 1
    incoming, outgoing = receiver == rank, sender == rank
    far = np.unique(routes.source[incoming & ~outgoing])
    local = LocalSum(routes, rank, far, d, dtype, weights, keep=keep, encoded=encoded)
    packed = hi - lo + slots + len(far)
    index, sends = [np.empty(0, np.int64)], []
    for q in np.unique(receiver[outgoing & ~incoming]).tolist():
        rows = np.unique(routes.source[outgoing & (receiver == q)]) - lo
        at = int(rows[0])
        if encoded or len(rows) < rows[-1] - at + 1:
            at = packed + sum(map(len, index))
            index.append(rows)
        sends.append(Piece(q, at, at + len(rows)))
    arrival = hi - lo if local.direct else hi - lo + slots
    edges = arrival + np.searchsorted(far, routes.source_bounds)
    receives = [
        Piece(q, *span) for q, span in enumerate(pairwise(edges.tolist())) if span[0] < span[1]
    ]
    pack = np.concatenate(index)
    rounds = [Round(work=Pack(pack))] if len(pack) else []
    rounds.append(Round(tuple(sends), tuple(receives), work=local))
    home = packed + len(pack)
    return Schedule(rounds, home=home, copied=local.copied), len(far), len(pack)


class Gossip(Carrier):
    """A round over `routes` by messages: a call fills `out` from the rows."""

    def __init__(
        self,
        comm: MPI.Intracomm,
        routes: Routes,
        rows: NDArray[Any],
        out: NDArray[Any],
        meter: Meter,
        weights: Weights | None,
        *,
        keep: bool,
        encoded: bool,
    ) -> None:
        d, dtype = rows.shape[1], rows.dtype
        plan, far, packed = schedule_of(
            routes, comm.rank, d, dtype, weights, keep=keep, encoded=encoded
        )
        travels = ENCODED if encoded else dtype
        home = [rows, out, np.empty((far, d), travels), np.empty((packed, d), travels)]
        super().__init__(comm, plan, home, meter, TAG)
        self.routes, self.row_bytes = routes, d * travels.itemsize
