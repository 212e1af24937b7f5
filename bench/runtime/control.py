"""Control of a run: decide the algorithm of a segment, and observe the segment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algorithms import ALGORITHMS
from algorithms.controllers.protocol import FOREVER, Decision, Observation
from algorithms.controllers.varying import variable
from algorithms.protocol import Algorithm
from bench.common.labels import full_spec
from bench.common.spec import format_spec, option_values, parse_spec
from bench.results import decisions
from bench.results.decisions import LONGEST_SPEC, Decided
from bench.runtime.experiment import Experiment


@dataclass
class Progress:
    """State of a control that a checkpoint holds, equal on all ranks."""

    memory: Any
    """Memory of the controller."""
    observation: Observation = field(default_factory=Observation)
    """Observation before the last decision."""
    origin: int = 0
    """Step from which the algorithm counts its steps; see Algorithm.since_exchange."""
    steps: int = 0
    """Steps since the last decision; the next fields are about them as well."""
    elapsed_ns: int = 0
    nbytes: float = 0.0
    loss_first: float = nan
    loss_last: float = nan
    loss_sum: float = 0.0
    start_loss: float = nan
    consensus: float = nan
    """Consensus distance at the last evaluation."""


class Control:
    """The controller of a run and the algorithm that it has decided on; the same on every rank.

    record: receives each decision with the observation of its segment. replay: decisions of an
    earlier run to follow, by round; the controller decides after them.
    """

    def __init__(
        self,
        experiment: Experiment,
        record: Callable[[Decided], None],
        replay: decisions.Decisions | None = None,
    ) -> None:
        self._controller, self._setting = experiment.controller, experiment.setting
        self.listens = self._controller.listens
        """Losses are to be passed to `add`."""
        self.recorded = experiment.controlled
        """The controller decides; otherwise the algorithm is that of the command line."""
        self._record, self._replay = record, replay
        self._arms = tuple(self._controller.arms(self._setting)) if self.recorded else ()
        self.progress = Progress(self._controller.memory(self._setting))
        self.algorithm = experiment.algorithm
        self._decision = self._decide()

    def resume(self) -> None:
        """Repeat the last decision from the restored progress; decisions are pure functions."""
        self._decision = self._decide()
        self.algorithm = self._decision.algorithm

    @property
    def checkpointed(self) -> Any:
        """The object that a checkpoint stores; an empty tuple without a controller."""
        return self.progress if self.recorded else ()

    @property
    def until(self) -> int:
        """Step of the next decision."""
        return self.progress.observation.step + self._decision.steps

    def since(self, step: int) -> int:
        """Return the steps since the last exchange after `step` steps; -1 if unknown."""
        return self.algorithm.since_exchange(step - self.progress.origin, self._setting.workers)

    def begin(self, step: int, state: Any) -> Algorithm:
        """Decide on the algorithm of the next steps if a decision is due; state: of the algorithm.

        Returns the algorithm of the next steps.
        """
        if step == self.until:
            self._observe()
            self._decision = self._decide()
        if self._decision.algorithm != self.algorithm:
            since = max(0, self.since(step))
            self.algorithm = self._decision.algorithm
            self.algorithm.adopt(state, since)
            interval = self.algorithm.exchange_interval(self._setting.workers)
            self.progress.origin = step - min(since, max(1, interval) - 1)
        return self.algorithm

    def add(
        self, steps: int, elapsed_ns: int, nbytes: float, losses: NDArray[np.floating] | None
    ) -> None:
        """Add consecutive steps to the segment.

        elapsed_ns: by the clock of the run. nbytes: that all workers sent. losses: (steps, W), in
        worker order; None if they are not observed.
        """
        progress = self.progress
        if losses is not None and steps:
            known = ~np.isnan(losses)  # asynchronous workers may not have a loss yet
            mean = np.where(known, losses, 0).sum(1, dtype=np.float64) / known.sum(1)
            if not progress.steps:
                progress.loss_first = float(mean[0])
            if not progress.observation.step + progress.steps:
                progress.start_loss = float(mean[0])
            for loss in mean.tolist():  # one by one: the same sum for any cuts of the segment
                progress.loss_sum += loss
                progress.loss_last = loss
        progress.steps += steps
        progress.elapsed_ns += elapsed_ns
        progress.nbytes += nbytes

    def close(self) -> None:
        """Record the decision of the last segment, which nothing observes."""
        if self.recorded and self.progress.steps:
            self._add_record(nan)

    def _decide(self) -> Decision:
        observation = self.progress.observation
        decision = self._controller.decide(self._setting, observation, self.progress.memory)
        number = observation.round
        if self._replay and number < len(self._replay.columns["first"]):
            columns = self._replay.columns
            algorithm = parse_spec(columns["algorithm"][number].decode(), ALGORITHMS, "algorithm")
            last = number + 1 == len(columns["first"])  # the run ended in it
            return Decision(
                algorithm,
                FOREVER if last else int(columns["steps"][number]),
                int(columns["arm"][number]),
                tuple(self._replay.mean[number]),
                tuple(self._replay.deviation[number]),
            )
        return decision

    def _observe(self) -> None:
        """Close the segment: the controller observes it, and it is recorded."""
        progress, last = self.progress, self.progress.observation
        segment = Observation(
            last.round,
            last.step + progress.steps,
            progress.steps,
            progress.elapsed_ns / 1e9,
            progress.nbytes,
            progress.loss_first,
            progress.loss_last,
            progress.loss_sum / progress.steps if self.listens else nan,
            progress.start_loss,
            progress.consensus,
        )
        reward = self._controller.observe(self._setting, segment, self._decision, progress.memory)
        self._add_record(reward)
        segment.round += 1
        progress.observation = segment
        progress.steps, progress.elapsed_ns, progress.nbytes = 0, 0, 0.0
        progress.loss_first, progress.loss_sum = nan, 0.0

    def _add_record(self, reward: float) -> None:
        progress, decision = self.progress, self._decision
        algorithm, values = decision.algorithm, option_values(decision.algorithm)
        shown = [name for name in variable(algorithm) if values[name] is not None]
        text = full_spec(format_spec(algorithm, ALGORITHMS), values, shown)
        columns: Mapping[str, Any] = {
            "first": progress.observation.step,
            "steps": progress.steps,
            "arm": decision.arm,
            "reward": reward,
            "seconds": progress.elapsed_ns / 1e9,
            "algorithm": text.encode()[:LONGEST_SPEC],
        }
        self._record(Decided(columns, self._arms, decision.mean, decision.deviation))


def replayed(path: str) -> decisions.Decisions | None:
    """Return the decisions of the run that --repeat names; None without any."""
    return decisions.read(Path(path)) if path else None
