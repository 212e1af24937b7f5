"""Training runs that aimed at a target, by what they are compared with; misses are infinite."""

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
from bench.reporting.training.runs import (
    Digest,
    Section,
    follows,
    order,
    points,
    shared,
    told,
    unlike,
)
from bench.results.statistics import Interval, median_interval, olympic_mean, ratio_interval

BASE = "allreduce_sgd"
"""What others are measured against where it is there."""


@dataclass(frozen=True)
class Case:
    """Runs with one target and equal settings that reached it or missed it."""

    name: str
    runs: list[Digest]

    def values(self, name: str) -> NDArray[np.float64]:
        """(seeds,) a number of Run.row(), of a seed the median over its launches; NaN left out.

        Only seconds a sample may be NaN, of a run that diverged at once.
        """
        seeds: dict[int, list[float]] = {}
        for run in self.runs:
            if not math.isnan(run.row.number(name)):
                seeds.setdefault(run.row.seed, []).append(run.row.number(name))
        return np.array([np.median(some) for some in seeds.values()])

    def interval(self, name: str, scale: float = 1) -> Interval:
        """Median over seeds and its interval; infinite where half of them missed."""
        return median_interval(scale * self.values(name))


@dataclass(frozen=True)
class Group:
    """Cases that are measured against one of them."""

    heading: str
    names: str
    """What the names of the cases are, as the title of a column."""
    cases: list[Case]
    base: Case


def groups(section: Section) -> list[Group]:
    """The cases that aimed at a target: algorithms together, else whatever differs.

    A run that diverged missed; one that failed or still runs is open, and left out.
    """
    runs = aimed(section)
    if not runs:
        return []
    _, varying = shared([run.settings for run in runs])
    leads = "algorithm" in varying
    others = [x for x in varying if x not in ("algorithm", "target")]
    own = [x for x in others if not leads or follows(runs, x, "algorithm")]
    apart = [x for x in others if x not in own]
    first = ["algorithm"] if leads or not own else []
    found: dict[tuple[Any, ...], dict[tuple[Any, ...], list[Digest]]] = {}
    for run in runs:
        place = order({x: run.settings[x] for x in ("target", *apart)})
        at = order({x: run.settings[x] for x in (*first, *own)})
        found.setdefault(place, {}).setdefault(at, []).append(run)
    made = []
    for _, cases in sorted(found.items()):
        named = [Case(told(some[0], [*first, *own]), some) for _, some in sorted(cases.items())]
        aim = named[0].runs[0].settings
        heading = [f"{section.metric} {aim['target']}", *(setting_label(x, aim[x]) for x in apart)]
        column = "run" if own else "algorithm"
        made.append(Group(", ".join(heading), column, named, _base(named)))
    return made


def aimed(section: Section) -> list[Digest]:
    """The runs that reached a target or missed it."""
    return [run for run in section.runs if not math.isnan(run.row.time_to_target_s)]


def _base(cases: Sequence[Case]) -> Case:
    plain = (x for x in cases if str(x.runs[0].settings["algorithm"]).partition(":")[0] == BASE)
    return next(plain, cases[0])


SEEDS = 5
"""Fewer do not tell much of a time to target."""
HEADER = ["reached", "time to target s", "Olympic mean s", "samples to target"]
HEADER += ["us a sample", "steps to target", "bytes to target"]


def tables(section: Section) -> list[TextTable]:
    """Two tables a group: absolute numbers; and those over the base's, where there are others."""
    made = []
    for group in groups(section):
        made.append(_absolute(group))
        if len(group.cases) > 1:
            made.append(_relative(group))
    return made


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
    """Time, samples and time a sample over those of the base; the first is the others' product."""
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
    cost += f", {format_number(1e6 * each, 3)} us a sample"
    heading = f"to {group.heading}, relative to {base.name} ({cost})"
    header = [group.names, "time to target", "samples to target", "time a sample"]
    return TextTable(heading, header, rows, ["complete"] * len(rows), 1, foot=list(foot))


def _against(case: Case, base: Case) -> str:
    """Why times may not be divided; empty where they may."""
    reasons = (unlike(x, y) for x in points(case.runs) for y in points(base.runs))
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
    """What a reader of the tables must know; nothing where there are none."""
    made = groups(section)
    if not made:
        return []
    every = sorted({run.settings["eval_every"] for run in aimed(section)}, key=str)
    lines = [
        "to target: training time until the mean model reaches it, evaluations left out; one value "
        f"a seed, the target is looked for every {' or '.join(map(str, every))} steps only",
        "to target: medians over seeds [95 % interval; below 6 seeds smallest and largest, of 5 "
        "seeds a 93.75 % interval]; a seed that missed is infinite and counts",
        "time to target is samples to target, which the algorithm decides, times time a sample, "
        "which the machine decides: seed by seed, so medians only nearly",
        "Olympic mean: without the best and the worst seed; none where two missed",
    ]
    if any(len(case.values("seed")) < SEEDS for group in made for case in group.cases):
        lines.append(f"fewer than {SEEDS} seeds are too few to rank algorithms by")
    states = Counter(
        run.row.status
        for run in section.runs
        if run.settings["target"] is not None and math.isnan(run.row.time_to_target_s)
    )
    if states:
        count = ", ".join(f"{n} {status}" for status, n in sorted(states.items()))
        runs = "run" if states.total() == 1 else "runs"
        lines.append(f"to target, in no number: {states.total()} {runs} that did not end ({count})")
    return lines
