"""Automatic choice of the fastest all-reduce by measurement, remembered for later runs.

Departures: there is no paper. Every all-reduce of the registry that supports these ranks is built,
called, timed and closed, in three passes, so that slow drift of the machine affects all candidates
alike. A candidate without room for its window is left out, and one that takes more than three times
as long as the fastest is dropped. The time of a call is that of the slowest rank; the smallest
median over the calls wins. The choice is stored with its measurement
(algorithms/collectives/choices.py), and measured again when it is old, or when the machine was
loaded; bench.collectives corrects it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from algorithms.collectives import choices
from algorithms.wire.memory import RoomError
from algorithms.wire.meter import Meter
from algorithms.wire.placement import Placement

if TYPE_CHECKING:
    from mpi4py import MPI

    from algorithms.collectives.choices import Choice
    from algorithms.collectives.protocol import AllReduce

PASSES = 3
MAX_RATIO = 3
"""A candidate is dropped when its median exceeds this multiple of the smallest median."""
PASS_NS = 15_000_000
"""Target duration of the 3 to 200 calls of a candidate in a pass, in nanoseconds."""


class Auto:
    """The fastest all-reduce for these ranks and this size, measured and remembered."""

    candidates: ClassVar[dict[str, type[AllReduce]]] = {}
    """All other all-reduces by name, set by the registry of the package."""

    def __init__(
        self,
        comm: MPI.Intracomm,
        d: int,
        dtype: np.dtype[Any],
        placement: Placement,
        meter: Meter,
    ) -> None:
        where = choices.conditions(comm)
        key, nbytes = choices.key(where, placement.total, dtype), d * dtype.itemsize
        recalled = (choices.recall(key, nbytes), datetime.now(UTC)) if comm.rank == 0 else None
        choice, now = comm.bcast(recalled)
        self.remembered = bool(choice and choice.chosen in self.candidates and choice.counts(now))
        """True if the choice comes from the file."""
        plan, excluded = None, ""
        if self.remembered:
            try:
                plan = self.candidates[choice.chosen](comm, d, dtype, placement, meter)
            except RoomError:  # the shared memory was larger then
                self.remembered = False
        if plan is None:
            us, excluded = measure(comm, d, dtype, placement, self.candidates)
            choice = choices.choice(where, us, "auto", now)
            if comm.rank == 0 and not excluded:
                choices.remember(key, nbytes, choice)
            plan = self.candidates[choice.chosen](comm, d, dtype, placement, meter)
        self.choice: Choice = choice
        """The choice with its measurement."""
        self.chosen: str = choice.chosen
        """Registry name of the all-reduce in use."""
        self.origin = (
            f"remembered from {choice.date[:10]}" if self.remembered else "measured just now"
        )
        """Origin of the choice, as text."""
        if choice.loaded:
            self.origin += "; the machine was loaded, so it is measured again after an hour"
        if excluded:
            self.origin += f"; without {excluded}"
        self.plan: AllReduce = plan
        """The all-reduce in use; calling it directly avoids one level of indirection."""
        self.spans, self.parts = self.plan.spans, self.plan.parts
        self.start, self.test, self.finish = self.plan.start, self.plan.test, self.plan.finish

    def __call__(self, divisor: int = 1) -> None:
        """Replace parts[0] by the sum over the ranks, divided by the divisor; collective."""
        self.plan(divisor)

    def close(self) -> None:
        """Release the resources of the all-reduce in use; collective."""
        self.parts = []
        self.plan.close()


def measure(
    comm: MPI.Intracomm,
    d: int,
    dtype: np.dtype[Any],
    placement: Placement,
    candidates: dict[str, type[AllReduce]],
) -> tuple[dict[str, float], str]:
    """Return the median time of a call, us, of each candidate these ranks support; collective.

    The text names the candidates without room in shared memory, with the reason; else empty.
    """
    excluded: dict[str, str] = {}
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(PASSES):
        for name in list(samples):
            try:
                plan = candidates[name](comm, d, dtype, placement, Meter())
            except ValueError as error:
                del samples[name]
                if isinstance(error, RoomError):
                    excluded[name] = str(error).partition(":")[0]
                continue
            samples[name] += _timed(comm, plan)
            plan.close()
        medians = {name: float(np.median(times)) for name, times in samples.items()}
        best = min(medians.values())
        samples = {name: x for name, x in samples.items() if medians[name] <= MAX_RATIO * best}
    reason = f" ({next(iter(excluded.values()))})" if excluded else ""
    return {name: medians[name] for name in samples}, " and ".join(excluded) + reason


def _timed(comm: MPI.Intracomm, plan: AllReduce) -> list[float]:
    """Return the times of repeated calls, us, each that of the slowest rank."""
    from mpi4py import MPI

    def call() -> int:
        comm.Barrier()
        start = perf_counter_ns()
        plan()
        return perf_counter_ns() - start

    for part in plan.parts:
        part[:] = 0
    call()
    once = comm.allreduce(call(), op=MPI.MAX)
    calls = min(200, max(3, PASS_NS // max(once, 1)))
    times = np.array([call() for _ in range(calls)])
    comm.Allreduce(MPI.IN_PLACE, times, op=MPI.MAX)
    slowest: list[float] = (times / 1e3).tolist()
    return slowest
