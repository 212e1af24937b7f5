"""Many runs put in order: sections that share an axis, cases that share a line of a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.results.digest import Digest, Setting
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
        return ", ".join([self.task, *(said(x, self.common[x]) for x in names)])

    def condition(self, run: Digest) -> str:
        """What varies but the algorithm, as a text: `iid, 2 ranks`."""
        names = sorted(self.varying, key=lambda x: x != "partition")
        texts = [said(x, run.settings[x]) for x in names if x != "algorithm"]
        return ", ".join(texts) or str(run.settings["partition"])

    def cases(self) -> list[list[Digest]]:
        """The complete runs of equal settings together; each other run alone, after them."""
        cases: dict[tuple[Any, ...], list[Digest]] = {}
        for i, run in enumerate(self.runs):
            alone = () if run.row["status"] == COMPLETE else (i,)
            cases.setdefault((_order(run), alone), []).append(run)
        return [cases[key] for key in sorted(cases)]

    def complete(self) -> list[list[Digest]]:
        """The cases of complete runs."""
        return [case for case in self.cases() if case[0].row["status"] == COMPLETE]


def sections(runs: Sequence[Digest]) -> list[Section]:
    """The runs by task and metric, sorted."""
    by_kind: dict[tuple[str, str, str], list[Digest]] = {}
    for run in sorted(runs, key=lambda run: (_order(run), run.row["seed"], run.row["file"])):
        kind = (run.row["task"], run.row["metric_name"], run.direction)
        by_kind.setdefault(kind, []).append(run)
    made = []
    for kind, members in sorted(by_kind.items()):
        first = members[0].settings
        same = {x for x in first if all(run.settings[x] == first[x] for run in members)}
        common = {x: first[x] for x in first if x in same and first[x] not in (None, "")}
        made.append(Section(*kind, members, common, [x for x in first if x not in same]))
    return made


def median_run(case: Sequence[Digest]) -> Digest:
    """The run whose median step is the median of the case, the lower of two; never without."""
    timed = [run for run in case if not math.isnan(run.row["step_ms_p50"])] or list(case)
    return sorted(timed, key=lambda run: float(run.row["step_ms_p50"]))[(len(timed) - 1) // 2]


def said(name: str, value: Setting) -> str:
    """A setting as a person says it: `iid`, `16 workers`, `batch 8`."""
    if name in ("workers", "ranks", "threads", "steps"):
        unit = {"threads": "threads a rank"}.get(name, name)
        return f"{value} {unit.replace('s', '', 1) if value == 1 and name != 'steps' else unit}"
    if isinstance(value, str) and name in ("algorithm", "partition", "processor"):
        return value
    return f"{name.replace('_', ' ')} {'none' if value is None else value}"


def _order(run: Digest) -> tuple[tuple[bool, bool, Any], ...]:
    return tuple((x is None, isinstance(x, str), x or 0) for x in run.settings.values())
