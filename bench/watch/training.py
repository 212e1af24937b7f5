"""How far a run of bench.train has come, and how well it does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.results.reader import Run
from bench.watch.recent import Recent, hosted, recent, steps_taken

LATE_S, LATE_PAUSES = 30, 5
"""A run is silent after so many seconds, and so many times the pause between its writes."""


@dataclass(frozen=True)
class Training:
    """A run of bench.train as its file stands."""

    step: int
    steps: int
    pause_s: float
    """At most so many seconds lie between two writes at the recent pace; NaN without a pace."""
    target: float
    """NaN without one."""
    reached: bool
    """Whether the target was."""
    metric: str
    direction: str
    """Whether the metric is to be `max` or `min`."""
    curve: Mapping[str, NDArray[np.float64]]
    """step, metric (of the mean model), worst (of the workers): one value an evaluation."""
    consensus: float
    """At the last evaluation; NaN before."""
    elapsed_s: float
    """Training time at the last evaluation; NaN before."""
    recent: Recent

    @property
    def now(self) -> float:
        """The metric at the last evaluation; NaN before."""
        return _last(self.curve["metric"])

    @property
    def best(self) -> float:
        """The best finite metric so far; NaN without one."""
        finite = self.curve["metric"][np.isfinite(self.curve["metric"])]
        if not len(finite):
            return math.nan
        return float(finite.max() if self.direction == "max" else finite.min())

    @property
    def part(self) -> float:
        """How much of the steps is taken, 0 ... 1."""
        return min(self.step / max(self.steps, 1), 1.0)

    @property
    def aims(self) -> bool:
        """Whether it has a target, where it ends."""
        return not math.isnan(self.target)

    @property
    def left_s(self) -> float:
        """Seconds to the last step at the recent pace, NaN without one."""
        return max(self.steps - self.step, 0) / self.recent.rate

    def silent(self, age_s: float) -> bool:
        """Whether it ought to have written since: age_s ago was the last time."""
        pause = 0.0 if math.isnan(self.pause_s) else self.pause_s
        return age_s > max(LATE_S, LATE_PAUSES * pause)


def training(run: Run) -> Training:
    """What the file says. Errors: KeyError, ValueError, TypeError, IndexError of a broken one."""
    said, params, train, evals = run.attributes, run.params, run.train, run.evals
    ranks = int(said["ranks"])
    numbers = train.get("rank", np.arange(train["start_ns"].shape[1])).astype(int)
    weights = hosted(int(said["workers"]), ranks)[numbers]
    hosts = [x.decode(errors="replace") for x in run.ranks.get("host", np.array([], "S1"))]
    last = recent(train, weights, numbers.tolist(), hosts)
    taken = steps_taken(run.taken(), weights)
    return Training(
        step=int(max(round(taken), *evals["step"][-1:], 0)),
        steps=int(params["steps"]),
        pause_s=int(params.get("eval_every", 0)) / last.rate,
        target=float(said.get("target", math.nan)),
        reached=bool(said.get("target_reached", False)),
        metric=str(said["metric_name"]),
        direction=str(said["metric_direction"]),
        curve={
            "step": evals["step"].astype(float),
            "metric": evals["metric"].astype(float),
            "worst": evals["metric_worst"].astype(float),
        },
        consensus=_last(evals["consensus"]),
        elapsed_s=_last(evals["elapsed_ns"]) / 1e9,
        recent=last,
    )


def _last(column: NDArray[np.generic]) -> float:
    return float(column[-1]) if len(column) else math.nan
