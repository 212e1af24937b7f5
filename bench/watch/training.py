"""How far a run of bench.train has come, and how well it does."""

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


RECENT_S = 10
"""Seconds that count as recent."""
LEAST = 20
"""So many steps are looked at, however long they took."""
SHOWN = 8
"""Of more ranks only the slowest are kept."""
STRAGGLES = 1.2
"""From so many times the median rank on, a rank holds the others up."""


@dataclass(frozen=True)
class Rank:
    """What a rank did in a recent step, mean."""

    number: int
    host: str
    busy_ms: float
    """Everything but blocked inside MPI."""
    wait_ms: float
    slowdown: float
    """busy_ms divided by that of the median rank, the lower of two; NaN where that is 0."""

    @property
    def straggles(self) -> bool:
        """Whether it holds the others up."""
        return self.slowdown >= STRAGGLES


@dataclass(frozen=True)
class Recent:
    """The last RECENT_S of a run, by the clocks of its ranks."""

    rate: float
    """Steps a second, evaluations included; NaN before the second step."""
    of: int
    """How many ranks took a step."""
    ranks: list[Rank]
    """All by number, or the SHOWN slowest of more, the slowest first."""

    @property
    def slowest(self) -> Rank | None:
        """The rank that was busiest; None where there is no other to compare with."""
        return max(self.ranks, key=lambda rank: rank.busy_ms) if self.of > 1 else None


def hosted(workers: int, ranks: int) -> NDArray[np.int64]:
    """(ranks,) how many workers each rank has."""
    return np.diff(np.arange(ranks + 1) * workers // ranks)


def steps_taken(taken: NDArray[np.bool_], weights: NDArray[np.int64]) -> float:
    """Steps of a worker, mean: where ranks take turns at a shared budget they differ.

    taken: (steps, ranks) who took which; weights: (ranks,) workers.
    """
    return float(taken.sum(0) @ weights) / max(int(weights.sum()), 1)


def recent(
    train: Mapping[str, NDArray[Any]],
    weights: NDArray[np.int64],
    numbers: Sequence[int],
    hosts: Sequence[str],
) -> Recent:
    """What the end of /train says.

    weights: (ranks,) workers; numbers: (ranks,) which ranks the columns are; hosts: of all ranks.
    """
    start, phase = _window(train["start_ns"], train["phase_ns"])
    taken = start != NOT_TAKEN
    counts = taken.sum(0)
    some = np.flatnonzero(counts)
    if not len(some):
        return Recent(math.nan, 0, [])
    spent = (phase * taken[:, :, None]).sum(0)[some] / counts[some, None] / 1e6
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
    span_s = _span_ns(start, phase.sum(2), taken)[some].max() / 1e9
    enough = len(start) > 1 and span_s > 0
    rate = steps_taken(taken, weights) / span_s if enough else math.nan
    return Recent(rate, len(some), ranks)


def _window(
    start: NDArray[np.int64], phase: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of the last RECENT_S by a clock of the last step's; LEAST rows or all there are."""
    if not start.size:
        return start, phase
    clock = start[:, int((start[-1] != NOT_TAKEN).argmax())]
    late = (clock != NOT_TAKEN) & (clock >= clock[-1] - RECENT_S * 10**9)
    first = max(min(int(late.argmax()), len(start) - LEAST), 0)
    return start[first:], phase[first:]


def _span_ns(
    start: NDArray[np.int64], took: NDArray[np.int64], taken: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """(ranks,) from the beginning of the first to the end of the last step, each on its clock."""
    first = np.where(taken, start, np.iinfo(np.int64).max).min(0)
    last = np.where(taken, start + took, NOT_TAKEN).max(0)
    return np.where(taken.any(0), last - first, 0)
