"""Training runs that aimed at a target, by what they are compared with; misses are infinite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.common.text import setting_label
from bench.reporting.cases import Section, follows, order, shared, told
from bench.reporting.digest import Digest
from bench.results.statistics import Interval, median_interval

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
            if not math.isnan(run.row[name]):
                seeds.setdefault(run.row["seed"], []).append(float(run.row[name]))
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
    return [run for run in section.runs if not math.isnan(run.row["time_to_target_s"])]


def _base(cases: Sequence[Case]) -> Case:
    plain = (x for x in cases if str(x.runs[0].settings["algorithm"]).partition(":")[0] == BASE)
    return next(plain, cases[0])
