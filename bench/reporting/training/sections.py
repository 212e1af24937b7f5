"""Sections of a report: runs of one task, metric and clock, with shared and varying settings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from bench.common.labels import labels, with_controller
from bench.common.text import Setting, setting_label
from bench.reporting.training.runs import INPUTS, SOURCES, Digest
from bench.results.schema import COMPLETE

FOLLOWERS = {
    "controller": ("algorithm",),
    "hosts": ("ranks",),
    "binding": ("ranks",),
    INPUTS: ("partition", "algorithm"),
    SOURCES: ("algorithm",),
}
"""Setting -> settings from which it normally follows."""
UNRECORDED = ("arithmetic", INPUTS)
"""Settings that files before version 1.6 do not record."""


@dataclass(frozen=True)
class Section:
    """Runs of one task, one metric and one clock, which can share an axis."""

    task: str
    metric: str
    direction: str
    runs: list[Digest]
    """Sorted by conditions, then algorithms, then seeds."""
    common: dict[str, Setting]
    """Settings that all runs share, without empty ones."""
    varying: list[str]
    """Names of the settings that tell runs apart."""
    implied: list[str] = field(default_factory=list)
    """Names of settings that vary with the number of ranks only, and are in no label."""

    def summary(self) -> str:
        """Return the task and the shared settings as a text."""
        names = sorted(self.common, key=lambda x: x not in ("partition", "algorithm"))
        return ", ".join([self.task, *(setting_label(x, self.common[x]) for x in names)])

    def condition(self, run: Digest) -> str:
        """Return the varying settings except the algorithm as a text: `iid, 2 ranks`."""
        names = sorted(self.varying, key=lambda x: x != "partition")
        texts = [setting_label(x, run.settings[x]) for x in names if x != "algorithm"]
        return ", ".join(texts) or str(run.settings["partition"])

    def cases(self) -> list[list[Digest]]:
        """Group the complete runs by settings; each other run is a case of its own."""
        return [[self.runs[i] for i in case] for case in self.places]

    @cached_property
    def places(self) -> list[list[int]]:
        """Return the indices in `runs` of the runs of each case."""
        cases: dict[tuple[Any, ...], list[int]] = {}
        for i, run in enumerate(self.runs):
            alone = () if run.row.status == COMPLETE else (i,)
            cases.setdefault((order(run.settings), alone), []).append(i)
        return [cases[key] for key in sorted(cases)]

    def complete(self) -> Iterator[tuple[int, list[Digest]]]:
        """Yield the cases of complete runs, each with its number among all cases."""
        for number, case in enumerate(self.cases()):
            if case[0].row.status == COMPLETE:
                yield number, case


def sections(runs: Sequence[Digest]) -> list[Section]:
    """Return the runs by task, metric and clock, sorted, with the options that tell them apart."""
    kinds = ("algorithm", "partition", "optimizer")
    names = [{"task": run.task} | {x: str(run.settings[x]) for x in kinds} for run in runs]
    spelled = labels([(x, run.options) for x, run in zip(names, runs, strict=True)])
    for run, texts in zip(runs, spelled, strict=True):
        controller = str(run.settings["controller"] or "")
        texts["algorithm"] = with_controller(texts["algorithm"], controller, run.options)
    runs = [
        replace(run, task=x.pop("task"), settings={**run.settings, **x})
        for run, x in zip(runs, spelled, strict=True)
    ]
    by_kind: dict[tuple[tuple[str, str, str], str], list[Digest]] = {}
    for run in sorted(runs, key=lambda run: (order(run.settings), run.row.seed, run.row.file)):
        kind = (run.task, run.row.metric_name, run.direction)
        by_kind.setdefault((kind, run.row.clock), []).append(run)
    result = []
    for (kind, _), some in sorted(by_kind.items()):
        members = _with_recorded(_with_one_evaluation(some))
        common, varying = shared([run.settings for run in members])
        led = [x for x, of in FOLLOWERS.items() if x in varying and depends_on(members, x, *of)]
        varying = [x for x in varying if x not in led]
        by_ranks = [x for x in led if FOLLOWERS[x] == ("ranks",)]
        result.append(Section(*kind, members, common, varying, by_ranks))
    return result


def _with_one_evaluation(runs: list[Digest]) -> list[Digest]:
    """Return the runs with one `eval_at` if all runs that have a choice agree on it.

    A run that exchanges parameters in every step has none: it can be compared with either.
    """
    choices = {run.settings["eval_at"] for run in runs if run.interval > 1}
    if len(choices) != 1:
        return runs
    (eval_at,) = choices
    return [replace(run, settings={**run.settings, "eval_at": eval_at}) for run in runs]


def _with_recorded(runs: list[Digest]) -> list[Digest]:
    """Return the runs with settings that their files do not record, from the others of the case.

    They stay unknown where the others disagree.
    """

    def case(run: Digest) -> Any:
        return order({x: y for x, y in run.settings.items() if x not in UNRECORDED})

    recorded: dict[tuple[str, Any], set[Setting]] = {}
    for run in runs:
        for name in UNRECORDED:
            values = recorded.setdefault((name, case(run)), set())
            values |= {run.settings[name]} - {None}
    result = []
    for run in runs:
        known = {name: recorded[name, case(run)] for name in UNRECORDED}
        settings = {x: next(iter(y)) if len(y) == 1 else run.settings[x] for x, y in known.items()}
        settings = {name: x or None for name, x in settings.items()}
        result.append(replace(run, settings={**run.settings, **settings}))
    return result


def shared(settings: Sequence[Mapping[str, Setting]]) -> tuple[dict[str, Setting], list[str]]:
    """Return the settings that are equal in all runs, without empty ones, and the other names."""
    first = settings[0]
    same = {x for x in first if all(other[x] == first[x] for other in settings)}
    common = {x: first[x] for x in first if x in same and first[x] not in (None, "")}
    return common, [x for x in first if x not in same]


def median_run(case: Sequence[Digest]) -> Digest:
    """Return the run whose time of a step is the median of the case, the lower of two."""
    timed = [run for run in case if not math.isnan(run.row.step_ms)] or list(case)
    return sorted(timed, key=lambda run: run.row.step_ms)[(len(timed) - 1) // 2]


def settings_label(run: Digest, names: Sequence[str]) -> str:
    """Return some settings of a run as a text, separated by commas."""
    return ", ".join(setting_label(x, run.settings[x]) for x in names)


def depends_on(runs: Sequence[Digest], name: str, *leaders: str) -> bool:
    """Report whether runs with equal values of the leaders have equal values of this setting."""
    pairs = {(tuple(run.settings[x] for x in leaders), run.settings[name]) for run in runs}
    return len(pairs) == len({lead for lead, _ in pairs})


def order(settings: Mapping[str, Setting]) -> tuple[tuple[bool, bool, Any], ...]:
    """Return a sort key: numbers before strings before None."""
    return tuple((x is None, isinstance(x, str), 0 if x is None else x) for x in settings.values())
