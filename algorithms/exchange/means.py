"""All means of an Exchange: over all workers or over groups, at once or started."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from algorithms.collectives import ALLREDUCES
from algorithms.collectives.auto import Auto
from algorithms.exchange.average import Average, GroupAverage, StartedMean
from algorithms.exchange.shaper import Shaper
from algorithms.wire.carrier import Scheduled
from algorithms.wire.duration import duration_ns
from algorithms.wire.meter import COPY, OTHER, WAIT, Meter

if TYPE_CHECKING:
    from mpi4py import MPI

    from algorithms.collectives.protocol import AllReduce
    from algorithms.wire.handles import Rows


class Means:
    """The means over the W workers of all ranks; rank r hosts [bounds[r], bounds[r + 1]).

    Plans are made at the first call and kept. Errors: ValueError where the links are slowed and
    the all-reduce does not say which messages it sends.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        bounds: list[int],
        allreduce: str,
        *,
        dtype: str,
        meter: Meter,
        shaper: Shaper | None,
    ) -> None:
        self._allreduce = ALLREDUCES[allreduce]
        if shaper and not issubclass(self._allreduce, Scheduled):
            raise ValueError(
                f"--link slows messages, and {allreduce} does not say which it sends: take "
                "recursive_doubling, ring or another all-reduce by messages"
            )
        self._comm, self._bounds, self._total = comm, bounds, bounds[-1]
        self._dtype, self._meter, self._shaper = np.dtype(dtype), meter, shaper
        self._here = bounds[comm.rank + 1] - bounds[comm.rank]
        self._averages: dict[int, Average] = {}
        self._groups: dict[tuple[int, int], GroupAverage] = {}
        self._homes: dict[int, tuple[Rows, Average]] = {}
        self._idle: dict[int, list[Average]] = {}
        self._durations: dict[tuple[int, int], tuple[float, float]] = {}
        self.chosen: dict[int, Auto] = {}
        """What the all-reduce `auto` took, by the bytes of a vector."""

    def rows(self, d: int) -> Rows:
        """Zeroed (V, d); with one worker a rank, the very memory the all-reduce works in.

        Plans what `mean` of such rows needs.
        """
        if self._total > self._comm.size:
            self._planned(d)
            return np.zeros((self._here, d), self._dtype)
        average = self._average(d)
        rows = average.vector.reshape(1, d)
        self._homes[id(rows)] = (rows, average)
        return rows

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
        elif out is None and id(rows) in self._homes:
            self._homes[id(rows)][1].in_place()
        else:
            self._planned(rows.shape[1])(rows, rows if out is None else out)
        self._meter.lap(COPY)
        if due:
            due()
            self._meter.lap(WAIT)

    def start_mean(self, rows: Rows) -> StartedMean:
        """Begin a mean over all workers; rows belong to it until `finish`; collective.

        Any number may be in flight; all ranks start and finish them in one order.
        """
        self._meter.lap(OTHER)
        d, due = rows.shape[1], self._shaped_mean(rows.shape[1], 0)
        average, done = None, _nothing
        home = id(rows) in self._homes
        if home:
            average = self._homes[id(rows)][1]
        elif self._total > 1:
            idle = self._idle.setdefault(d, [])
            average = idle.pop() if idle else self._average(d)

            def done() -> None:
                idle.append(average)

        return StartedMean(average, rows, meter=self._meter, home=home, due=due, done=done)

    def close(self) -> None:
        """Release windows, requests and communicators; collective."""
        idle = [average for averages in self._idle.values() for average in averages]
        for average in [*self._averages.values(), *(a for _, a in self._homes.values()), *idle]:
            average.plan.close()
        for group in self._groups.values():
            group.close()
        self._averages, self._homes, self._idle, self._groups = {}, {}, {}, {}

    def _planned(self, d: int) -> Average:
        if d not in self._averages:
            self._averages[d] = self._average(d)
        return self._averages[d]

    def _average(self, d: int) -> Average:
        plan: AllReduce = self._plan(self._comm, d, self._bounds)
        if isinstance(plan, Auto):
            self.chosen.setdefault(d * self._dtype.itemsize, plan)
            plan = plan.plan
        return Average(plan, self._total, self._meter)

    def _plan(self, comm: MPI.Intracomm, d: int, bounds: list[int]) -> AllReduce:
        return self._allreduce(comm, d, self._dtype, bounds, self._meter)

    def _group(self, size: int, rows: Rows) -> GroupAverage:
        key = (size, rows.shape[1])
        if key not in self._groups:
            self._groups[key] = GroupAverage(
                self._comm,
                self._bounds,
                size,
                rows.shape[1],
                dtype=self._dtype,
                planner=self._plan,
                meter=self._meter,
            )
        return self._groups[key]

    def _shaped_mean(self, d: int, group: int) -> Callable[[], None] | None:
        """Note the start of a mean of d elements, where links are slow; what waits for its end."""
        members = min(group, self._total) if group else self._total
        if self._shaper is None or members == 1:
            return None
        if (d, members) not in self._durations:
            assert issubclass(self._allreduce, Scheduled)
            link, itemsize = self._shaper.link, self._dtype.itemsize
            each = list(range(members + 1))
            schedules = [self._allreduce.schedule(r, each, d, itemsize) for r in range(members)]
            needs, sends = (
                duration_ns(schedules, itemsize, latency, link.sending_ns)
                for latency in (link.latency_ns, 0.0)
            )
            self._durations[d, members] = needs, sends
        return self._shaper.collective(*self._durations[d, members])


def _nothing() -> None:
    """Nothing is to be given back."""
