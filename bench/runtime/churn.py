"""Changes of the members of a run with --churn or --on-death leave, and their record."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from algorithms.exchange.membership import Churn, Departures, Turnover
from algorithms.exchange.mpi import MPIExchange
from algorithms.protocol import Algorithm
from algorithms.wire.placement import Placement
from bench.common.spec import UserError
from bench.common.text import counted
from bench.results import epochs
from bench.results.epochs import BACK, GONE, Event
from bench.runtime import start
from bench.runtime.combinations import check_size, placements, require_hosts
from bench.runtime.evaluation import Evaluation
from bench.runtime.experiment import Experiment
from bench.runtime.membership import Epoch, change
from bench.runtime.recording import Recording
from bench.runtime.setup import Material, Plan
from bench.runtime.workers import TrainingWorkers

if TYPE_CHECKING:
    from mpi4py import MPI


class MemberChanges:
    """Deaths and returns of the workers of one run.

    Construction moves a run that resumes to the members of its checkpoint. Construction, `follow`
    and `evaluate_members` are collective. epoch: of the run, with all workers.
    """

    def __init__(
        self, comm: MPI.Intracomm, plan: Plan, data: Material, epoch: Epoch, recording: Recording
    ) -> None:
        experiment = self._experiment = plan.experiment
        assert experiment.churn
        self._comm, self._data, self._churn = comm, data, experiment.churn
        self._recording, self._cell = recording, epoch.workers.cell
        self._turnover: Turnover | Departures = Departures(dict(experiment.departures))
        if isinstance(self._churn, Churn):
            self._turnover = Turnover(self._churn, experiment.workers, experiment.options.seed)
        self._events: list[Event] = []
        if not plan.resumed:
            return
        manifest = plan.resumed.manifest
        rows = comm.bcast(epochs.read(plan.resumed.source) if comm.rank == 0 else None)
        self._events = [row for row in rows if row.step < manifest.step]
        alive = epoch.placement
        if manifest.members:
            alive = alive.only(manifest.members)
        if alive != epoch.placement:
            require_hosts(experiment.options, alive)
            if epoch.exchange.clock:
                epoch.exchange.clock.change(alive.ids)
            exchange, workers = self._build(epoch.exchange, alive)
            epoch.exchange.close()
            epoch.placement, epoch.exchange, epoch.workers = alive, exchange, workers
            epoch.state = start.initial_state(experiment, exchange, workers)

    def _build(
        self, before: MPIExchange, placement: Placement
    ) -> tuple[MPIExchange, TrainingWorkers]:
        return start.members(self._experiment, self._data, placement, before, self._cell)

    def follow(self, epoch: Epoch, algorithm: Algorithm, step: int) -> None:
        """Let the deaths and returns before a step happen; collective. Errors: UserError."""
        while True:
            changes = self._turnover.changes(self._now(epoch, step), epoch.placement)
            for placement in changes:
                self._change(epoch, placement, algorithm, step)
            if not changes:  # a change takes time on the clock, in which others may follow
                return

    def _now(self, epoch: Epoch, step: int) -> float:
        clock = epoch.exchange.clock
        return step if self._churn.in_steps or clock is None else clock.elapsed_s

    def _change(self, epoch: Epoch, placement: Placement, algorithm: Algorithm, step: int) -> None:
        require_hosts(self._experiment.options, placement)
        check_size(self._experiment.options, algorithm, placement.total)
        before = epoch.placement.alive
        build = partial(self._build, epoch.exchange)
        change(self._comm, epoch, placement, algorithm, build, self._churn.start)
        for worker in (before != placement.alive).nonzero()[0].tolist():
            event = Event(step, worker, GONE if before[worker] else BACK)
            self._events.append(event)
            self._recording.add_member(event)

    @property
    def next_step(self) -> int:
        """Step before which the next death or return happens; a large number if unknown."""
        soon = self._turnover.next
        return int(soon) if self._churn.in_steps and soon < math.inf else 2**62

    def turns(self, epoch: Epoch, steps: int) -> Iterable[int]:
        """Return an iterable with one item per step, up to the next change by the clock."""
        clock = epoch.exchange.clock
        if self._churn.in_steps or clock is None:
            return range(steps)
        return takewhile(lambda _: clock.elapsed_s < self._turnover.next, range(steps))

    def worker_steps(self, steps: int) -> int:
        """Return the steps of all workers together in the first steps of the run."""
        workers = self._experiment.workers
        return steps * workers - int(epochs.absences(self._events, workers, steps).sum())

    def evaluate_members(self, evaluation: Evaluation, epoch: Epoch) -> None:
        """Evaluate the members from now on."""
        evaluation.follow(epoch.placement, epoch.workers.x)

    def results(self, steps: int) -> dict[str, Any]:
        """Return the attributes of the result after so many steps."""
        return epochs.results(self._events, self._experiment.workers, steps)


def member_changes(
    comm: MPI.Intracomm, plan: Plan, data: Material, epoch: Epoch, recording: Recording
) -> MemberChanges | None:
    """Return the deaths and returns of a run that has some; collective. Errors: UserError."""
    if plan.experiment.churn is None:
        members = plan.resumed.manifest.members if plan.resumed else []
        if plan.resumed and 0 < len(members) < plan.experiment.workers:
            raise UserError(
                f"{plan.resumed.checkpoint}: workers have left this run: resume it with --on-death "
                "leave, or add --overwrite instead of --resume"
            )
        return None
    return MemberChanges(comm, plan, data, epoch, recording)


def spread(values: NDArray[Any], placement: Placement) -> NDArray[np.float64]:
    """Return the values of the members, (members,), by worker, (W,), NaN for the dead."""
    result = np.full(placement.homes[-1], np.nan)
    result[placement.ids] = values
    return result


def plan_line(experiment: Experiment) -> str:
    """Return a line about the deaths and returns that a run will see."""
    churn, options = experiment.churn, experiment.options
    assert isinstance(churn, Churn)
    if not churn.in_steps:
        return f"churn {options.churn}: deaths and returns by the model clock"
    every = placements(churn, experiment.placement, experiment.steps, options.seed)
    sizes = [experiment.workers, *(x.total for x in every)]
    moves = np.diff(sizes)
    deaths, returns = int(-moves[moves < 0].sum()), int(moves[moves > 0].sum())
    return (
        f"churn {options.churn}: {counted(deaths, 'death')} and {counted(returns, 'return')} in "
        f"{counted(experiment.steps, 'step')}, {min(sizes)} to {max(sizes)} workers alive"
    )
