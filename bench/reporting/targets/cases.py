"""Training runs with a target, grouped for comparison, and tables of the cost of the target.

Runs that missed the target count with infinite cost.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.common.text import (
    NONE,
    TextTable,
    format_bytes,
    format_number,
    interval_line,
    setting_label,
)
from bench.reporting.scaling.series import ends, number
from bench.reporting.training.points import mismatch, points
from bench.reporting.training.runs import DATA, Digest
from bench.reporting.training.sections import Section, depends_on, order, settings_label, shared
from bench.results.statistics import Interval, median_interval, olympic_mean, ratio_interval

BASE = "allreduce_sgd"
"""Algorithm that is the base of comparisons, if it is present."""


@dataclass(frozen=True)
class Case:
    """Runs with equal settings and a common target that reached or missed it."""

    name: str
    runs: list[Digest]

    def values(self, name: str) -> NDArray[np.float64]:
        """Return (seeds,) float64, the medians of a column over the launches of each seed.

        NaN is left out; only seconds per sample can be NaN, after divergence in the first step.
        """
        seeds: dict[int, list[float]] = {}
        for run in self.runs:
            if not math.isnan(run.row.number(name)):
                seeds.setdefault(run.row.seed, []).append(run.row.number(name))
        return np.array([np.median(some) for some in seeds.values()])

    def interval(self, name: str, scale: float = 1) -> Interval:
        """Return the median over seeds and its interval; infinite if half of the seeds missed."""
        return median_interval(scale * self.values(name))


@dataclass(frozen=True)
class Group:
    """Cases that are compared with one of them."""

    heading: str
    names: str
    """Title of the column with the names of the cases."""
    cases: list[Case]
    base: Case


def groups(section: Section) -> list[Group]:
    """Return the cases with a target, grouped so that algorithms are compared.

    A diverged run missed its target; a failed or running one is left out.
    """
    runs = with_target(section)
    if not runs:
        return []
    _, varying = shared([run.settings for run in runs])
    leads = "algorithm" in varying
    rest = [x for x in varying if x not in ("algorithm", "controller", "target")]
    own = [x for x in rest if x != DATA and (not leads or depends_on(runs, x, "algorithm"))]
    apart = [x for x in rest if x not in own]
    first = ["algorithm"] if leads or not own else []
    by_place: dict[tuple[Any, ...], dict[tuple[Any, ...], list[Digest]]] = {}
    for run in runs:
        place = order({x: run.settings[x] for x in ("target", *apart)})
        at = order({x: run.settings[x] for x in (*first, *own)})
        by_place.setdefault(place, {}).setdefault(at, []).append(run)
    result = []
    for _, cases in sorted(by_place.items()):
        named = [
            Case(settings_label(some[0], [*first, *own]), some) for _, some in sorted(cases.items())
        ]
        aim = named[0].runs[0].settings
        heading = [f"{section.metric} {aim['target']}", *(setting_label(x, aim[x]) for x in apart)]
        column = "run" if own else "algorithm"
        result.append(Group(", ".join(heading), column, named, _base(named)))
    return result


def with_target(section: Section) -> list[Digest]:
    """Return the runs that reached or missed a target."""
    return [run for run in section.runs if not math.isnan(run.row.time_to_target_s)]


def _base(cases: Sequence[Case]) -> Case:
    plain = (x for x in cases if str(x.runs[0].settings["algorithm"]).partition(":")[0] == BASE)
    return next(plain, cases[0])


SEEDS = 5
"""Number of seeds recommended for a time to target."""
HEADER = ["reached", "time to target s", "Olympic mean s", "samples to target"]
HEADER += ["us per sample", "steps to target", "bytes to target"]


def tables(section: Section) -> list[TextTable]:
    """Return two tables per group: absolute numbers and, with several cases, relative ones."""
    result = []
    for group in groups(section):
        result.append(_absolute(group))
        if len(group.cases) > 1:
            result.append(_relative(group))
    return result


def _absolute(group: Group) -> TextTable:
    rows = []
    for case in group.cases:
        times = case.values("time_to_target_s")
        few = f" [{len(times)} of {SEEDS} seeds]" if len(times) < SEEDS else ""
        olympic = olympic_mean(times)
        steps, moved = (case.interval(f"{x}_to_target")[0] for x in ("steps", "bytes"))
        rows.append(
            [
                case.name,
                f"{np.isfinite(times).sum()} of {len(times)}{few}",
                _to_target(case.interval("time_to_target_s")),
                format_number(olympic, 3) if math.isfinite(olympic) else NONE,
                _to_target(case.interval("samples_to_target")),
                _to_target(case.interval("s_per_sample", 1e6)),
                f"{steps:.0f}" if math.isfinite(steps) else NONE,
                format_bytes(moved) if math.isfinite(moved) else NONE,
            ]
        )
    heading = f"to {group.heading}"
    return TextTable(heading, [group.names, *HEADER], rows, ["complete"] * len(rows), 2)


def _to_target(interval: Interval) -> str:
    middle, low, high = interval
    around = "" if math.isnan(low) or math.isinf(low) else ends(low, high)
    return ("missed" if math.isinf(middle) else number(middle)) + around


def _relative(group: Group) -> TextTable:
    """Return time, samples and time per sample relative to the base; the first is their product."""
    base = group.base
    rows: list[list[str]] = []
    foot: dict[str, None] = {}
    for case in group.cases:
        against = _against(case, base)
        if against:
            foot[f"{case.name}: no ratio of times, {against}"] = None
        cells = [case.name]
        for name in ("time_to_target_s", "samples_to_target", "s_per_sample"):
            timed = name != "samples_to_target"
            cells.append(NONE if timed and against else _over(case, base, name))
        rows.append(cells)
    time, samples, each = (
        base.interval(x)[0] for x in ("time_to_target_s", "samples_to_target", "s_per_sample")
    )
    cost = (
        f"{format_number(time, 3)} s, {number(samples)} samples"
        if math.isfinite(time)
        else "missed"
    )
    cost += f", {format_number(1e6 * each, 3)} us per sample"
    heading = f"to {group.heading}, relative to {base.name} ({cost})"
    header = [group.names, "time to target", "samples to target", "time per sample"]
    return TextTable(heading, header, rows, ["complete"] * len(rows), 1, foot=list(foot))


def _against(case: Case, base: Case) -> str:
    """Return the reason against a ratio of times; empty if there is none."""
    reasons = (mismatch(x, y) for x in points(case.runs) for y in points(base.runs))
    return next(filter(None, reasons), "")


def _over(case: Case, base: Case, name: str) -> str:
    if case is base:
        return "base"
    against = base.interval(name)
    if not math.isfinite(against[0]):
        return NONE
    middle, low, high = ratio_interval(case.interval(name), against)
    return "missed" if math.isinf(middle) else format_number(middle, 3) + interval_line(low, high)


def notes(section: Section) -> list[str]:
    """Return explanations for readers of the tables; none without targets."""
    all_groups = groups(section)
    if not all_groups:
        return []
    every = sorted({run.settings["eval_every"] for run in with_target(section)}, key=str)
    lines = [
        "to target: training time until the mean model reaches it, without evaluations; one value "
        f"per seed, checked every {' or '.join(map(str, every))} steps",
        "to target: medians over seeds [95 % interval; with fewer than 6 seeds smallest and "
        "largest value, for 5 seeds a 93.75 % interval]; a seed that missed counts as infinite",
        "time to target is samples to target, determined by the algorithm, times time per sample, "
        "determined by the machine; this holds for each seed, and only approximately for medians",
        "Olympic mean: mean without the best and the worst seed; none if two seeds missed",
    ]
    if any(len(case.values("seed")) < SEEDS for group in all_groups for case in group.cases):
        lines.append(f"fewer than {SEEDS} seeds are not enough to rank algorithms")
    states = Counter(
        run.row.status
        for run in section.runs
        if run.settings["target"] is not None and math.isnan(run.row.time_to_target_s)
    )
    if states:
        count = ", ".join(f"{n} {status}" for status, n in sorted(states.items()))
        runs = "run" if states.total() == 1 else "runs"
        lines.append(f"to target, not included: {states.total()} {runs} that did not end ({count})")
    return lines
