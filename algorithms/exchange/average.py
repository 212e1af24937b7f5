"""Means over workers: sums inside the rank, then an all-reduce between ranks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from algorithms.wire.meter import COPY, OTHER, WAIT, Meter
from algorithms.wire.quotient import over
from algorithms.wire.tree import TreeSum

if TYPE_CHECKING:
    from mpi4py import MPI

    from algorithms.collectives.protocol import AllReduce
    from algorithms.wire.handles import Rows

Planner = Callable[["MPI.Intracomm", int, list[int]], "AllReduce"]
"""(comm, d, bounds) -> a plan; collective over comm."""


class Average:
    """The mean over all workers of (V, d) rows."""

    def __init__(self, plan: AllReduce, total: int, meter: Meter) -> None:
        self.plan, self._total, self._meter = plan, total, meter
        self.vector = plan.parts[0]
        """(d,) where the mean lies after a call."""
        lo = plan.spans[0][0]
        self._sums = [
            (
                TreeSum(total, span, self.vector.size, self.vector.dtype),
                slice(span[0] - lo, span[1] - lo),
            )
            for span in plan.spans
        ]

    def in_place(self) -> None:
        """Average what lies in `vector` on every rank."""
        self.plan(self._total)

    def __call__(self, rows: Rows, out: NDArray[np.floating]) -> None:
        """Set out, (d,) or every row of (V, d), to the mean of rows over all workers."""
        self._add_up(rows)
        self.plan(self._total)
        self._hand_out(rows, out)

    def start(self, rows: Rows | None) -> None:
        """Begin to average rows, (V, d), or what lies in `vector`."""
        if rows is not None:
            self._add_up(rows)
        self.plan.start(self._total)

    def finish(self, rows: Rows, out: NDArray[np.floating]) -> None:
        """Complete what was started with these rows: out as in a call."""
        self.plan.finish()
        self._hand_out(rows, out)

    def _add_up(self, rows: Rows) -> None:
        for part, (add_up, span) in zip(self.plan.parts, self._sums, strict=True):
            add_up(rows[span], part)
        self._meter.lap(COPY)

    def _hand_out(self, rows: Rows, out: NDArray[np.floating]) -> None:
        if not np.may_share_memory(out, self.vector):
            out[...] = self.vector
        crossings = len(rows) - 1 + (len(rows) - 1 if out.ndim == 2 else 0)
        self._meter.bytes_copied += crossings * self.vector.nbytes
        self._meter.lap(COPY)


class GroupAverage:
    """The mean over each group of `size` consecutive workers; the last group may be smaller.

    A group on one rank needs no message. Groups that span ranks have a communicator each; a rank
    is in at most two of them, which are neighbours, so even ones go before odd ones and nobody
    waits in a circle. Collective to build, to call and to close.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        bounds: list[int],
        size: int,
        d: int,
        *,
        dtype: np.dtype[Any],
        planner: Planner,
        meter: Meter,
    ) -> None:
        from mpi4py import MPI

        self._meter, total = meter, bounds[-1]
        lo, hi = bounds[comm.rank], bounds[comm.rank + 1]
        self._here: list[tuple[slice, TreeSum]] = []
        self._across: list[tuple[slice, Average]] = []
        self._comms: list[MPI.Intracomm] = []
        self._sum = np.empty(d, dtype)
        spanning = []
        for first in range(0, total, size):
            last = min(first + size, total)
            hosts = [r for r in range(comm.size) if bounds[r] < last and bounds[r + 1] > first]
            if len(hosts) > 1:
                spanning.append((first, last, hosts))
            elif comm.rank in hosts:
                add_up = TreeSum(last - first, (0, last - first), d, dtype)
                self._here.append((slice(first - lo, last - lo), add_up))
        for parity in (0, 1):
            mine = next((x for x in spanning[parity::2] if comm.rank in x[2]), None)
            made = comm.Split(mine[0] if mine else MPI.UNDEFINED, comm.rank)
            if mine is None:
                continue
            assert isinstance(made, MPI.Intracomm)
            first, last, hosts = mine
            inside = [max(bounds[r], first) - first for r in hosts] + [last - first]
            plan = planner(made, d, inside)
            rows = slice(max(first, lo) - lo, min(last, hi) - lo)
            self._across.append((rows, Average(plan, last - first, meter)))
            self._comms.append(made)

    def __call__(self, rows: Rows) -> None:
        """Replace every row, (V, d), by the mean over its group."""
        for members, add_up in self._here:
            n = members.stop - members.start
            add_up(rows[members], self._sum)
            over(self._sum, n)
            rows[members] = self._sum
            self._meter.bytes_copied += 2 * (n - 1) * self._sum.nbytes
        self._meter.lap(COPY)
        for members, average in self._across:
            average(rows[members], rows[members])

    def close(self) -> None:
        """Release plans and communicators; collective."""
        for _, average in self._across:
            average.plan.close()
        for made in self._comms:
            made.Free()
        self._across, self._comms = [], []


class StartedMean:
    """A mean in flight."""

    def __init__(
        self,
        average: Average | None,
        rows: Rows,
        *,
        meter: Meter,
        home: bool,
        due: Callable[[], None] | None,
        done: Callable[[], None],
    ) -> None:
        self._average, self.result, self._meter = average, rows, meter
        self._due, self._done = due, done
        if average:
            average.start(None if home else rows)

    def test(self) -> None:
        """Let the messages go on, without waiting."""
        if self._average:
            self._average.plan.test()

    def finish(self, out: NDArray[np.floating] | None = None) -> None:
        """Set out, (V, d) or (d,), or else the rows, to the mean; to be called once."""
        self._meter.lap(OTHER)
        target = self.result if out is None else out
        if self._average:
            self._average.finish(self.result, target)
        elif target is not self.result:
            target[...] = self.result if target.ndim == 2 else self.result[0]
        if self._due:
            self._due()
            self._meter.lap(WAIT)
        self._done()
