"""Means over workers: sums inside each rank, then an all-reduce between ranks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from algorithms.collectives import ALLREDUCES
from algorithms.collectives.auto import Auto
from algorithms.exchange.shaper import Delays
from algorithms.wire.bfloat16 import ENCODED, Encoded, round_in_place
from algorithms.wire.carrier import Handle, Scheduled, divide_in_place
from algorithms.wire.meter import COPY, OTHER, WAIT, Meter
from algorithms.wire.placement import Placement
from algorithms.wire.sums import TreeSum

if TYPE_CHECKING:
    from mpi4py import MPI

    from algorithms.collectives.protocol import AllReduce
    from algorithms.protocol import Rows


class Average:
    """Mean of (V, d) rows over all workers."""

    def __init__(self, plan: AllReduce, total: int, meter: Meter) -> None:
        self.plan, self._total, self._meter = plan, total, meter
        encoded = isinstance(plan, Encoded)
        self.vector = plan.parts[0]
        """(d,) memory of the mean after a call."""
        self.home: Rows | None = None
        """The vector as the (1, d) rows of the only worker of the rank; None for other rows."""
        self._row_bytes = self.vector.nbytes // (2 if encoded else 1)
        lo = plan.spans[0][0]
        self._sums = [
            (
                TreeSum(total, span, self.vector.size, self.vector.dtype, rounded=encoded),
                slice(span[0] - lo, span[1] - lo),
            )
            for span in plan.spans
        ]

    def in_place(self) -> None:
        """Replace `vector` by its mean over all ranks; collective."""
        self.plan(self._total)

    def __call__(self, rows: Rows, out: NDArray[np.floating]) -> None:
        """Set out, (d,) or every row of (V, d), to the mean of rows over all workers."""
        self._add_up(rows)
        self.plan(self._total)
        self._hand_out(rows, out)

    def start(self, rows: Rows) -> None:
        """Start the mean of rows, (V, d); collective."""
        self._rows = rows
        if rows is not self.home:
            self._add_up(rows)
        self.plan.start(self._total)

    def test(self) -> None:
        """Let the messages progress without blocking."""
        self.plan.test()

    def finish(self, out: NDArray[np.floating] | None = None) -> None:
        """Complete a mean that was started; out as in a call, by default the rows."""
        self.plan.finish()
        self._hand_out(self._rows, self._rows if out is None else out)

    def _add_up(self, rows: Rows) -> None:
        for part, (add_up, span) in zip(self.plan.parts, self._sums, strict=True):
            add_up(rows[span], part)
        self._meter.lap(COPY)

    def _hand_out(self, rows: Rows, out: NDArray[np.floating]) -> None:
        if not np.may_share_memory(out, self.vector):
            out[...] = self.vector
        crossings = len(rows) - 1 + (len(rows) - 1 if out.ndim == 2 else 0)
        self._meter.bytes_copied += crossings * self._row_bytes
        self._meter.lap(COPY)

    def close(self) -> None:
        """Release the plan; collective."""
        self.plan.close()


class GroupAverage:
    """Mean over each group of `size` consecutive workers; the last group may be smaller.

    A group on one rank needs no message. Groups that span ranks have a communicator each. A rank
    belongs to at most two of them, which are neighbours; even groups exchange before odd ones, so
    that ranks never wait in a cycle. Collective to create, to call and to close. dtype: type of the
    elements of messages, see Means. planner: creates the mean of some ranks, collective over their
    communicator.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        placement: Placement,
        size: int,
        d: int,
        *,
        dtype: np.dtype[Any],
        planner: Callable[[MPI.Intracomm, int, Placement], Average],
        meter: Meter,
    ) -> None:
        from mpi4py import MPI

        self._meter, total, bounds = meter, placement.total, placement.bounds
        lo, hi = placement.span(comm.rank)
        self._here: list[tuple[slice, TreeSum]] = []
        self._across: list[tuple[slice, Average]] = []
        self._comms: list[MPI.Intracomm] = []
        self._encoded, self._row_bytes = dtype == ENCODED, d * dtype.itemsize
        dtype = np.dtype(np.float32) if self._encoded else dtype
        self._sum = np.empty(d, dtype)
        spanning, reason = [], None
        for first in range(0, total, size):
            last = min(first + size, total)
            hosts = range(placement.rank_of(first), placement.rank_of(last - 1) + 1)
            if len(hosts) > 1:
                spanning.append((first, last, hosts))
            elif comm.rank in hosts:
                inside_one = (0, last - first)
                add_up = TreeSum(last - first, inside_one, d, dtype, rounded=self._encoded)
                self._here.append((slice(first - lo, last - lo), add_up))
        for parity in (0, 1):
            own = next((x for x in spanning[parity::2] if comm.rank in x[2]), None)
            split = comm.Split(own[0] if own else MPI.UNDEFINED, comm.rank)
            if own is None:
                continue
            assert isinstance(split, MPI.Intracomm)
            first, last, hosts = own
            inside = Placement((*(max(bounds[r], first) - first for r in hosts), last - first))
            self._comms.append(split)
            rows = slice(max(first, lo) - lo, min(last, hi) - lo)
            try:
                self._across.append((rows, planner(split, d, inside)))
            except ValueError as error:
                reason = error
        if failure := next(filter(None, comm.allgather(reason)), None):
            raise failure

    def __call__(self, rows: Rows) -> None:
        """Replace every row, (V, d), by the mean over its group."""
        for members, add_up in self._here:
            n = members.stop - members.start
            add_up(rows[members], self._sum)
            divide_in_place(self._sum, n)
            if self._encoded:
                round_in_place(self._sum)
            rows[members] = self._sum
            self._meter.bytes_copied += 2 * (n - 1) * self._row_bytes
        self._meter.lap(COPY)
        for members, average in self._across:
            average(rows[members], rows[members])

    def close(self) -> None:
        """Release plans and communicators; collective."""
        for _, average in self._across:
            average.close()
        for comm in self._comms:
            comm.Free()
        self._across, self._comms = [], []


class Means:
    """Means over the W workers of a placement.

    Plans are created at the first call and reused. dtype: type of the elements of messages; ENCODED
    for rows of float32 that travel as bfloat16. Errors: ValueError if links are slow and the
    messages of the all-reduce are unknown.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        placement: Placement,
        allreduce: str,
        *,
        dtype: np.dtype[Any],
        meter: Meter,
        shaper: Delays | None,
    ) -> None:
        self._allreduce = ALLREDUCES[allreduce]
        if shaper and shaper.schedules and not issubclass(self._allreduce, Scheduled):
            raise ValueError(
                f"--link slows messages, and those of {allreduce} are unknown: take "
                "recursive_doubling, ring or another all-reduce by messages"
            )
        self._comm, self._placement, self._total = comm, placement, placement.total
        self._dtype, self._meter, self._shaper = dtype, meter, shaper
        self._encoded = dtype == ENCODED
        self._here = len(placement.positions(comm.rank))
        self._averages: dict[int, Average] = {}
        self._groups: dict[tuple[int, int], GroupAverage] = {}
        self._homes: list[Average] = []
        self._idle: dict[int, list[Average]] = {}
        self.chosen: dict[int, Auto] = {}
        """Choice of the all-reduce `auto` by the bytes of a vector."""

    def rows(self, d: int) -> Rows:
        """Return zeroed (V, d) rows; with one worker a rank, the memory of the all-reduce itself.

        Creates the plan for the mean of such rows.
        """
        if self._total > self._comm.size:
            self.prepare(d)
            return np.zeros((self._here, d), np.float32 if self._encoded else self._dtype)
        average = self._average(d)
        average.home = average.vector.reshape(1, d)
        self._homes.append(average)
        return average.home

    def _at_home(self, rows: Rows) -> Average | None:
        """Return the mean that owns the memory of the rows, if any."""
        for average in self._homes:
            if average.home is rows:
                return average
        return None

    def mean(self, rows: Rows, out: NDArray[np.floating] | None = None, *, group: int = 0) -> None:
        """Replace every row, or set out, (d,), to the mean over all W workers; collective.

        With `group`, every row becomes the mean over its `group` consecutive workers.
        """
        self._meter.lap(OTHER)
        due = self._shaped_mean(rows.shape[1], group)
        if 0 < group < self._total:
            assert out is None, "a group's mean replaces the rows"
            self._group(group, rows)(rows)
        elif self._total == 1:
            if out is not None:
                out[:] = rows[0]
        elif out is None and (average := self._at_home(rows)):
            average.in_place()
        else:
            self._planned(rows.shape[1])(rows, rows if out is None else out)
        self._meter.lap(COPY)
        if due:
            due()
            self._meter.lap(WAIT)

    def start_mean(self, rows: Rows) -> Handle:
        """Start a mean over all workers; leave rows alone until `finish`; collective.

        Any number may be in flight; all ranks start and finish them in the same order.
        """
        self._meter.lap(OTHER)
        d, due = rows.shape[1], self._shaped_mean(rows.shape[1], 0)
        average, done = self._at_home(rows), None
        if not average and self._total > 1:
            idle = self._idle.setdefault(d, [])
            average = idle.pop() if idle else self._average(d)
            done = partial(idle.append, average)
        if average:
            average.start(rows)
        return Handle(average, rows, self._meter, due, done)

    def close(self) -> None:
        """Release windows, requests and communicators; collective."""
        idle = [average for averages in self._idle.values() for average in averages]
        for average in [*self._averages.values(), *self._homes, *idle]:
            average.close()
        for group in self._groups.values():
            group.close()
        self._averages, self._homes, self._idle, self._groups = {}, [], {}, {}

    def prepare(self, d: int) -> None:
        """Create the plan for the mean of (V, d) rows in memory of their own; collective."""
        self._planned(d)

    def _planned(self, d: int) -> Average:
        if d not in self._averages:
            self._averages[d] = self._average(d)
        return self._averages[d]

    def _average(self, d: int) -> Average:
        plan: AllReduce = self._plan(self._comm, d, self._placement)
        if isinstance(plan, Auto):
            self.chosen.setdefault(d * self._dtype.itemsize, plan)
            plan = plan.plan
        return Average(plan, self._total, self._meter)

    def _plan(self, comm: MPI.Intracomm, d: int, placement: Placement) -> AllReduce:
        plan = self._allreduce(comm, d, self._dtype, placement, self._meter)
        return Encoded(plan) if self._encoded else plan

    def _between(self, comm: MPI.Intracomm, d: int, placement: Placement) -> Average:
        return Average(self._plan(comm, d, placement), placement.total, self._meter)

    def _group(self, size: int, rows: Rows) -> GroupAverage:
        key = (size, rows.shape[1])
        if key not in self._groups:
            self._groups[key] = GroupAverage(
                self._comm,
                self._placement,
                size,
                rows.shape[1],
                dtype=self._dtype,
                planner=self._between,
                meter=self._meter,
            )
        return self._groups[key]

    def _shaped_mean(self, d: int, group: int) -> Callable[[], None] | None:
        """Start the delay of a mean on slow links; return a call that waits for it, or None."""
        members = min(group, self._total) if group else self._total
        if self._shaper is None or members == 1:
            return None
        return self._shaper.all_reduce(self._allreduce, d, members, self._dtype.itemsize)
