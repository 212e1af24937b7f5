"""Many runs put in order: sections that share an axis, cases that share a line of a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bench.common.text import Setting, setting_label
from bench.reporting.digest import Digest
from bench.results.schema import COMPLETE


@dataclass(frozen=True)
class Section:
    """The runs of one task and one metric: only they can stand on one axis."""

    task: str
    metric: str
    direction: str
    runs: list[Digest]
    """Sorted: equal conditions beside each other, then algorithms, then seeds."""
    common: dict[str, Setting]
    """The settings that are the same in all runs, those that say nothing left out."""
    varying: list[str]
    """The names of the others."""

    def summary(self) -> str:
        """The task and what is the same in all runs, as a text."""
        names = sorted(self.common, key=lambda x: x not in ("partition", "algorithm"))
        return ", ".join([self.task, *(setting_label(x, self.common[x]) for x in names)])

    def condition(self, run: Digest) -> str:
        """What varies but the algorithm, as a text: `iid, 2 ranks`."""
        names = sorted(self.varying, key=lambda x: x != "partition")
        texts = [setting_label(x, run.settings[x]) for x in names if x != "algorithm"]
        return ", ".join(texts) or str(run.settings["partition"])

    def cases(self) -> list[list[Digest]]:
        """The complete runs of equal settings together; each other run alone, after them."""
        return [[self.runs[i] for i in case] for case in self.places]

    @cached_property
    def places(self) -> list[list[int]]:
        """The cases as the places of their runs in `runs`."""
        cases: dict[tuple[Any, ...], list[int]] = {}
        for i, run in enumerate(self.runs):
            alone = () if run.row["status"] == COMPLETE else (i,)
            cases.setdefault((order(run.settings), alone), []).append(i)
        return [cases[key] for key in sorted(cases)]

    def complete(self) -> list[list[Digest]]:
        """The cases of complete runs."""
        return [case for case in self.cases() if case[0].row["status"] == COMPLETE]


def sections(runs: Sequence[Digest]) -> list[Section]:
    """The runs by task and metric, sorted."""
    by_kind: dict[tuple[str, str, str], list[Digest]] = {}
    for run in sorted(
        runs, key=lambda run: (order(run.settings), run.row["seed"], run.row["file"])
    ):
        kind = (run.row["task"], run.row["metric_name"], run.direction)
        by_kind.setdefault(kind, []).append(run)
    made = []
    for kind, members in sorted(by_kind.items()):
        common, varying = shared([run.settings for run in members])
        made.append(Section(*kind, members, common, varying))
    return made


def shared(
    settings: Sequence[Mapping[str, Setting]],
) -> tuple[dict[str, Setting], list[str]]:
    """The settings that are the same in all, those that say nothing left out; the others' names."""
    first = settings[0]
    same = {x for x in first if all(other[x] == first[x] for other in settings)}
    common = {x: first[x] for x in first if x in same and first[x] not in (None, "")}
    return common, [x for x in first if x not in same]


def median_run(case: Sequence[Digest]) -> Digest:
    """The run whose median step is the median of the case, the lower of two; never without."""
    timed = [run for run in case if not math.isnan(run.row["step_ms_p50"])] or list(case)
    return sorted(timed, key=lambda run: float(run.row["step_ms_p50"]))[(len(timed) - 1) // 2]


def told(run: Digest, names: Sequence[str]) -> str:
    """Some settings of a run as a person says them, with commas between."""
    return ", ".join(setting_label(x, run.settings[x]) for x in names)


def follows(runs: Sequence[Digest], name: str, leader: str) -> bool:
    """Whether runs that share the leader's value share this setting's, too."""
    pairs = {(run.settings[leader], run.settings[name]) for run in runs}
    return len(pairs) == len({lead for lead, _ in pairs})


def order(settings: Mapping[str, Setting]) -> tuple[tuple[bool, bool, Any], ...]:
    """A key to sort by: numbers before texts before nothing."""
    return tuple((x is None, isinstance(x, str), 0 if x is None else x) for x in settings.values())
