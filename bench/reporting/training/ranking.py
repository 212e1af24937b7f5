"""Ranking of cases by a number, as far as their seeds or launches tell them apart.

Two cases are apart if both have at least LEAST seeds or launches, and the gap between the
intervals of their medians is larger than the resolution of the evaluation: one held-out sample
for an accuracy. Every "best", "fastest", winner and bold cell of a report follows from here.

`rank` decides on plain numbers; `contests` applies it to the complete cases of a section, within
each condition.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from bench.common.text import Setting, setting_label
from bench.reporting.training.runs import Digest
from bench.reporting.training.sections import Section, depends_on
from bench.results.statistics import Interval, median_interval

LEAST = 3
"""Minimum number of seeds or launches of a case that can be ahead of another."""
SHARES = ("accuracy",)
"""Metrics that are a share of the held-out samples."""
METRICS = ("metric", "metric_mean", "metric_worst", "own_mean", "own_worst")
"""Columns of the metric of the task."""
SCORES = (*METRICS, "loss", "consensus")
"""Columns that launches with equal seeds repeat, so that they count once per seed."""
FEW, OVERLAP, FINE = f"fewer than {LEAST} seeds", "ranges overlap", "within one held-out sample"
"""Reasons for cases that are not told apart."""
UNTOLD = "not told apart"
"""Text in the place of a winner."""
ROUNDING = 1e-6
"""Relative tolerance of a gap, because metrics are stored as rounded quotients."""


@dataclass(frozen=True)
class Ranking:
    """Order of contestants, given by their indices."""

    order: list[int]
    """All contestants, the best median first."""
    groups: list[list[int]]
    """The order, divided where every contestant is apart from all later ones."""
    reason: str
    """Reason why the first is not ahead, FEW, OVERLAP or FINE; empty if it is, or is alone."""

    @property
    def winner(self) -> int | None:
        """Return the contestant that is apart from all others and better; None without one."""
        ahead = len(self.groups) > 1 and len(self.groups[0]) == 1
        return self.groups[0][0] if ahead else None

    @property
    def apart(self) -> bool:
        """Report whether there is a winner."""
        return self.winner is not None


def rank(values: Sequence[Sequence[float]], direction: str, resolution: float = 0.0) -> Ranking:
    """Rank contestants by the medians of their values.

    values: finite numbers of each contestant, one per seed or launch, at least one each.
    direction: `max` if larger is better, else `min`. resolution: smallest difference that the
    evaluation can show, in the unit of the values; 0 if every difference counts.
    """
    sign = -1 if direction == "max" else 1
    order = sorted(range(len(values)), key=lambda i: sign * median(values[i]))
    groups: list[list[int]] = []
    for position, i in enumerate(order):
        before, after = order[:position], order[position:]
        if before and not any(tie(values[x], values[y], resolution) for x in before for y in after):
            groups.append([])
        if not groups:
            groups.append([])
        groups[-1].append(i)
    reasons = [tie(values[order[0]], values[i], resolution) for i in order[1:]] if order else []
    return Ranking(order, groups, next((x for x in (FEW, OVERLAP, FINE) if x in reasons), ""))


def tie(a: Sequence[float], b: Sequence[float], resolution: float = 0.0) -> str:
    """Return the reason why two contestants are not told apart; empty if they are apart."""
    if min(len(a), len(b)) < LEAST:
        return FEW
    (_, a_low, a_high), (_, b_low, b_high) = interval(a), interval(b)
    gap = max(a_low, b_low) - min(a_high, b_high)
    if not gap > 0:
        return OVERLAP
    return "" if gap > resolution * (1 + ROUNDING) else FINE


def interval(values: Sequence[float]) -> Interval:
    """Return the median and its interval; the smallest and largest of fewer than 6 values."""
    return median_interval(np.array(values, np.float64))


def values_of(case: Sequence[Digest], column: str) -> list[float]:
    """Return the numbers of a case: one per seed for a score, one per launch for the others."""
    if column not in SCORES:
        return [run.row.number(column) for run in case]
    by_seed: dict[int, list[float]] = {}
    for run in case:
        by_seed.setdefault(run.row.seed, []).append(run.row.number(column))
    return [median(some) for some in by_seed.values()]


def resolution_of(runs: Sequence[Digest], column: str) -> float:
    """Return the smallest difference of a score that the evaluation of these runs can show.

    It is 0 for numbers that are no share of samples, and if no file holds their count.
    """
    if column not in METRICS or any(run.row.metric_name not in SHARES for run in runs):
        return 0.0
    return max((1 / n for run in runs if (n := run.row.eval_samples)), default=0.0)


def coarse(runs: Sequence[Digest]) -> str:
    """Return a sentence about accuracies of unknown resolution; empty if every one is known."""
    shares = [run for run in runs if run.row.metric_name in SHARES]
    n = sum(not run.row.eval_samples for run in shares)
    if not n:
        return ""
    files = "The file does" if len(shares) == 1 else f"Of {len(shares)} files, {n} do"
    return (
        f"{files} not hold the number of held-out samples, so a difference of accuracies within "
        "one sample can count as one"
    )


@dataclass(frozen=True)
class Contest:
    """Complete cases of one condition, ranked by a number."""

    condition: str
    """Varying settings that the contestants share, as a text; empty if no setting varies."""
    settings: dict[str, Setting]
    """The same settings by name."""
    names: list[str]
    """Algorithm of each contestant, with the options that only it has."""
    places: list[int]
    """Number of each contestant's case among Section.cases()."""
    values: list[list[float]]
    """Numbers of each contestant, see values_of."""
    ranking: Ranking
    """Order of the contestants, as indices into the lists above."""


def contests(section: Section, column: str = "metric", direction: str = "") -> list[Contest]:
    """Return the contests of a section: one per condition with at least two contestants.

    column: number of TrainingRow to rank by. direction: the better one, `max` or `min`; empty for
    that of the metric. A condition consists of all varying settings except the algorithm and the
    options that follow from it. Cases with a number that is not finite take no part.
    """
    own = own_settings(section)
    shared = [x for x in section.varying if x not in own]
    cases: dict[tuple[Setting, ...], list[tuple[int, list[Digest]]]] = {}
    for place, case in section.complete():
        if all(math.isfinite(x) for x in values_of(case, column)):
            key = tuple(case[0].settings[x] for x in shared)
            cases.setdefault(key, []).append((place, case))
    result = []
    for key, some in cases.items():
        if len(some) < 2:
            continue
        values = [values_of(case, column) for _, case in some]
        resolution = resolution_of([run for _, case in some for run in case], column)
        settings = dict(zip(shared, key, strict=True))
        labels = [setting_label(x, settings[x]) for x in sorted(shared, key=_partition_first)]
        result.append(
            Contest(
                condition=", ".join(labels),
                settings=settings,
                names=[_name(case[0], own) for _, case in some],
                places=[place for place, _ in some],
                values=values,
                ranking=rank(values, direction or section.direction, resolution),
            )
        )
    return result


def own_settings(section: Section) -> list[str]:
    """Return the varying settings that name a contestant: the algorithm and its own options.

    Runs of a single algorithm are contests of what else they choose: optimizer and all-reduce.
    """
    choices: list[str] = [x for x in ("optimizer", "allreduce") if x in section.varying]
    if choices and "algorithm" not in section.varying:
        return choices
    return ["algorithm", *(x for x in choices if depends_on(section.runs, x, "algorithm"))]


def _name(run: Digest, own: Sequence[str]) -> str:
    return ", ".join(setting_label(x, run.settings[x]) for x in own)


def _partition_first(name: str) -> bool:
    return name != "partition"
