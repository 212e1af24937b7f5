"""Progress, pace and quality of a run of bench.train, from its result file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algorithms.wire.meter import WAIT
from bench.results.reader import Run
from bench.results.schema import NOT_TAKEN

LATE_S, LATE_PAUSES = 30, 5
"""A run is silent after LATE_S and LATE_PAUSES times the interval between its writes."""


@dataclass(frozen=True)
class Training:
    """State of a run of bench.train according to its file."""

    step: int
    steps: int
    pause_s: float
    """Longest interval between two writes at the recent pace; NaN without a pace."""
    target: float
    """NaN without one."""
    reached: bool
    """Report whether the target was reached."""
    metric: str
    direction: str
    """`max` if a larger metric is better, else `min`."""
    curve: Mapping[str, NDArray[np.float64]]
    """step, metric (mean model), worst (worst worker): one value per evaluation."""
    since: int
    """Steps from the last exchange of parameters to the last evaluation; -1 if unknown."""
    consensus: float
    """Consensus distance at the last evaluation; NaN before."""
    elapsed_s: float
    """Training time at the last evaluation; NaN before."""
    recent: Recent

    @property
    def now(self) -> float:
        """Return the metric at the last evaluation; NaN before."""
        return _last(self.curve["metric"])

    @property
    def best(self) -> float:
        """Return the best finite metric so far; NaN without one."""
        finite = self.curve["metric"][np.isfinite(self.curve["metric"])]
        if not len(finite):
            return math.nan
        return float(finite.max() if self.direction == "max" else finite.min())

    @property
    def part(self) -> float:
        """Return the fraction of the steps taken, 0 ... 1."""
        return min(self.step / max(self.steps, 1), 1.0)

    @property
    def aims(self) -> bool:
        """Report whether the run ends at a target."""
        return not math.isnan(self.target)

    @property
    def left_s(self) -> float:
        """Return the seconds to the last step at the recent pace; NaN without one."""
        return max(self.steps - self.step, 0) / self.recent.rate

    def silent(self, age_s: float) -> bool:
        """Report whether a write is overdue; age_s: seconds since the last one."""
        pause = 0.0 if math.isnan(self.pause_s) else self.pause_s
        return age_s > max(LATE_S, LATE_PAUSES * pause)


def training(run: Run) -> Training:
    """Return the state of a run. Errors: KeyError, ValueError, TypeError, IndexError if broken."""
    attributes, params, train, evals = run.attributes, run.params, run.train, run.evals
    ranks = int(attributes["ranks"])
    numbers = train.get("rank", np.arange(train["start_ns"].shape[1])).astype(int)
    weights = hosted(int(attributes["workers"]), ranks)[numbers]
    hosts = [x.decode(errors="replace") for x in run.ranks.get("host", np.array([], "S1"))]
    last = recent(train, weights, numbers.tolist(), hosts)
    n_steps = steps_taken(run.step_mask(), weights)
    return Training(
        step=int(max(round(n_steps), *evals["step"][-1:], 0)),
        steps=int(attributes.get("steps_planned") or params["steps"]),
        pause_s=int(params.get("eval_every", 0)) / last.rate,
        target=float(attributes.get("target", math.nan)),
        reached=bool(attributes.get("target_reached", False)),
        metric=str(attributes["metric_name"]),
        direction=str(attributes["metric_direction"]),
        curve={
            "step": evals["step"].astype(float),
            "metric": evals["metric"].astype(float),
            "worst": evals["metric_worst"].astype(float),
        },
        since=int(evals["since"][-1]) if len(evals.get("since", ())) else -1,
        consensus=_last(evals["consensus"]),
        elapsed_s=_last(evals["elapsed_ns"]) / 1e9,
        recent=last,
    )


def _last(column: NDArray[np.generic]) -> float:
    return float(column[-1]) if len(column) else math.nan


RECENT_S = 10
"""Length of the recent window, s."""
LEAST = 20
"""Minimum number of steps in the recent window."""
SHOWN = 8
"""Maximum number of ranks kept; of more, the slowest."""
STRAGGLES = 1.2
"""Compute time of a straggler relative to the median rank."""


@dataclass(frozen=True)
class Rank:
    """Mean times of a rank in a recent step."""

    number: int
    host: str
    busy_ms: float
    """Time outside blocking MPI calls."""
    wait_ms: float
    slowdown: float
    """busy_ms relative to the median rank, the lower of two; NaN if that is 0."""

    @property
    def straggles(self) -> bool:
        """Report whether the rank is a straggler."""
        return self.slowdown >= STRAGGLES


@dataclass(frozen=True)
class Recent:
    """The last RECENT_S of a run, by the clocks of its ranks."""

    rate: float
    """Steps per second, including evaluations; NaN before the second step."""
    of: int
    """Number of ranks that took a step."""
    ranks: list[Rank]
    """All ranks in order, or the SHOWN slowest, the slowest first."""

    @property
    def slowest(self) -> Rank | None:
        """Return the busiest rank; None for a single rank."""
        return max(self.ranks, key=lambda rank: rank.busy_ms) if self.of > 1 else None


def hosted(workers: int, ranks: int) -> NDArray[np.int64]:
    """Return (ranks,) int64, the number of workers of each rank."""
    return np.diff(np.arange(ranks + 1) * workers // ranks)


def steps_taken(was_taken: NDArray[np.bool_], weights: NDArray[np.int64]) -> float:
    """Return the mean number of steps of a worker; ranks that share a budget differ in it.

    taken: (steps, ranks) bool, True if the rank took the step; weights: (ranks,) workers.
    """
    return float(was_taken.sum(0) @ weights) / max(int(weights.sum()), 1)


def recent(
    train: Mapping[str, NDArray[Any]],
    weights: NDArray[np.int64],
    numbers: Sequence[int],
    hosts: Sequence[str],
) -> Recent:
    """Return pace and times of the last rows of /train.

    weights: (ranks,) workers; numbers: (ranks,) rank of each column; hosts: of all ranks.
    """
    start, phase = _window(train["start_ns"], train["phase_ns"])
    was_taken = start != NOT_TAKEN
    counts = was_taken.sum(0)
    some = np.flatnonzero(counts)
    if not len(some):
        return Recent(math.nan, 0, [])
    spent = (phase * was_taken[:, :, None]).sum(0)[some] / counts[some, None] / 1e6
    wait = spent[:, WAIT]
    busy = spent.sum(1) - wait
    median = float(np.sort(busy)[(len(busy) - 1) // 2])
    order = np.argsort(-busy, kind="stable")[:SHOWN] if len(busy) > SHOWN else range(len(busy))
    ranks = [
        Rank(
            number := int(numbers[some[i]]),
            hosts[number] if number < len(hosts) else "",
            float(busy[i]),
            float(wait[i]),
            float(busy[i]) / median if median > 0 else math.nan,
        )
        for i in order
    ]
    span_s = _span_ns(start, phase.sum(2), was_taken)[some].max() / 1e9
    enough = len(start) > 1 and span_s > 0
    rate = steps_taken(was_taken, weights) / span_s if enough else math.nan
    return Recent(rate, len(some), ranks)


def _window(
    start: NDArray[np.int64], phase: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of the last RECENT_S on one clock, but at least LEAST rows."""
    if not start.size:
        return start, phase
    clock = start[:, int((start[-1] != NOT_TAKEN).argmax())]
    late = (clock != NOT_TAKEN) & (clock >= clock[-1] - RECENT_S * 10**9)
    first = max(min(int(late.argmax()), len(start) - LEAST), 0)
    return start[first:], phase[first:]


def _span_ns(
    start: NDArray[np.int64], took: NDArray[np.int64], was_taken: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return (ranks,) int64, ns from the start of the first to the end of the last step."""
    first = np.where(was_taken, start, np.iinfo(np.int64).max).min(0)
    last = np.where(was_taken, start + took, NOT_TAKEN).max(0)
    return np.where(was_taken.any(0), last - first, 0)
