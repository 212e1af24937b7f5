"""A pull between workers, planned: which rows each rank sends, receives and adds up.

Every rank derives the whole plan from the links alone, so nobody has to ask. A row that several
workers of a rank want crosses once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from algorithms.meter import COPY, OTHER, WAIT, Meter
from algorithms.topology import Links

if TYPE_CHECKING:
    from mpi4py import MPI

Index = slice | NDArray[np.int64]
BLOCK_BYTES = 256 * 1024
"""Scattered rows are added in blocks of this size: the temporary stays in the cache."""


def _blocks(out: NDArray[np.int64], row: NDArray[np.int64], row_bytes: int) -> list[Index]:
    """Index pairs (out, row, out, row, ...) that together cover the two arrays, in order.

    Slices where both run in step, short index arrays where they are scattered.
    """
    if not len(out):
        return []
    breaks = np.flatnonzero((np.diff(out) != 1) | (np.diff(row) != 1)) + 1
    if (len(breaks) + 1) * 4 > len(out):
        step = max(1, BLOCK_BYTES // row_bytes)
        breaks = np.arange(step, len(out), step)
        runs = zip(np.split(out, breaks), np.split(row, breaks), strict=True)
        return [index for pair in runs for index in pair]
    starts = [0, *breaks.tolist()]
    lengths = np.diff([*starts, len(out)]).tolist()
    return [
        slice(int(x[a]), int(x[a]) + n)
        for a, n in zip(starts, lengths, strict=True)
        for x in (out, row)
    ]


class PullPlan:
    """The part of one rank in a pull over `links`, for rows of d elements."""

    def __init__(
        self, links: Links, bounds: list[int], rank: int, d: int, dtype: np.dtype[np.floating]
    ) -> None:
        lo, hi = bounds[rank], bounds[rank + 1]
        owner = np.searchsorted(bounds, np.arange(links.total), side="right") - 1
        to_me = owner[links.target] == rank
        mine = owner[links.source] == rank
        row_bytes = d * dtype.itemsize

        self.sends: list[tuple[int, slice | NDArray[np.int64], NDArray[np.floating]]] = []
        """(rank, which of my rows, where they are packed unless they are a slice)."""
        for q in np.unique(owner[links.target[mine & ~to_me]]).tolist():
            wanted = np.unique(links.source[mine & (owner[links.target] == q)]) - lo
            run = len(wanted) == wanted[-1] - wanted[0] + 1
            index = slice(int(wanted[0]), int(wanted[-1]) + 1) if run else wanted
            self.sends.append((q, index, np.empty((0 if run else len(wanted), d), dtype)))

        far = np.unique(links.source[to_me & ~mine])
        self._inbox = np.empty((len(far), d), dtype)
        edges = np.searchsorted(far, bounds)
        self.receives = [
            (q, self._inbox[edges[q] : edges[q + 1]])
            for q in range(len(bounds) - 1)
            if edges[q] < edges[q + 1]
        ]
        self.bytes_copied = int((to_me & mine).sum()) * row_bytes

        source, target = links.source[to_me], links.target[to_me] - lo
        heard = links.in_degree[lo:hi]
        turn = np.arange(len(target)) - np.repeat(np.cumsum(heard) - heard, heard)
        near = (source >= lo) & (source < hi)
        row = np.where(near, source - lo, np.searchsorted(far, source))
        self.silent = np.flatnonzero(heard == 0)
        self.turns: list[tuple[list[Index], list[Index]]] = []
        """The j-th sender of every worker that has one: out-row pairs near and far."""
        for j in range(int(heard.max(initial=0))):
            here, there = (turn == j) & near, (turn == j) & ~near
            self.turns.append(
                (
                    _blocks(target[here], row[here], row_bytes),
                    _blocks(target[there], row[there], row_bytes),
                )
            )
        self.direct = hi - lo == 1 and len(far) == 1 and len(source) == 1
        """One worker that hears from one other rank: the row is received in its place."""
        self.busy = False

    def start(
        self,
        comm: MPI.Intracomm,
        rows: NDArray[np.floating],
        out: NDArray[np.floating],
        meter: Meter,
    ) -> list[MPI.Request]:
        """Post all receives, then all sends."""
        assert not self.busy, "a plan carries one pull at a time"
        self.busy = True
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
            meter.sent(message.nbytes)
            meter.lap(WAIT)
        return requests

    def add_up(self, rows: NDArray[np.floating], out: NDArray[np.floating]) -> None:
        """Fill out from the rows of this rank and those that arrived, ascending by sender."""
        self.busy = False
        if self.direct:
            return
        out[self.silent] = 0
        for j, pairs in enumerate(self.turns):
            for table, blocks in zip((rows, self._inbox), pairs, strict=True):
                for into, row in zip(blocks[::2], blocks[1::2], strict=True):
                    if j == 0:
                        out[into] = table[row]
                    else:
                        out[into] += table[row]


class StartedPull:
    """A pull in flight."""

    def __init__(
        self,
        plan: PullPlan,
        requests: list[MPI.Request],
        rows: NDArray[np.floating],
        out: NDArray[np.floating],
        meter: Meter,
    ) -> None:
        self._plan, self._requests, self._meter = plan, requests, meter
        self._rows, self._out = rows, out

    def finish(self) -> None:
        """Wait for every message, then fill `out`."""
        self._meter.lap(OTHER)
        if self._requests:
            self._requests[0].Waitall(self._requests)
        self._meter.lap(WAIT)
        self._plan.add_up(self._rows, self._out)
        self._meter.bytes_copied += self._plan.bytes_copied
        self._meter.lap(COPY)
