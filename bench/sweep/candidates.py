"""Candidates of the cases of a tuning sweep, with their runs in every rung."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from bench.common.files import RUNGS
from bench.common.spec import UserError, with_option
from bench.common.text import Setting, setting_label
from bench.reporting.training.choice import value_text
from bench.results.schema import DIVERGED
from bench.runtime.options import TABLE
from bench.session.binding import use_threads
from bench.session.launch import on_all_ranks
from bench.sweep.file import MOST, TUNE, Options, SweepFile
from bench.sweep.halving import Tune, Value
from bench.sweep.plan import ALWAYS, Case, Outcome, checked, finished_cases, label_names

if TYPE_CHECKING:
    from mpi4py import MPI

Outcomes: TypeAlias = Mapping[str, Outcome | str]
"""Case hash -> outcome of the run, or the error message of the case."""


@dataclass(frozen=True)
class Trial:
    """Candidate of a case, with its runs."""

    value: dict[str, Setting]
    """Option -> value."""
    rungs: list[list[Case]]
    """Runs of each rung, one per seed."""

    @property
    def text(self) -> str:
        """Return the value as a text."""
        return value_text(self.value)

    def steps(self, rung: int) -> int:
        """Return the steps of all its runs in a rung."""
        return sum(case.experiment.steps for case in self.rungs[rung])

    def scores(self, rung: int, outcomes: Outcomes) -> list[float]:
        """Return the score of each seed; infinite, on the worse side, without a finite one."""
        results = [outcomes[case.hash] for case in self.rungs[rung]]
        worst = -math.inf if "max" in directions(results) else math.inf
        return [
            worst if isinstance(x, str) or x.status == DIVERGED or math.isnan(x.score) else x.score
            for x in results
        ]


def directions(results: Sequence[Outcome | str]) -> set[str]:
    """Return the better directions of some results: `max` or `min`, empty if all failed."""
    return {x.direction for x in results if not isinstance(x, str)}


@dataclass(frozen=True)
class Group:
    """Case of the sweep, of which some options are to be chosen, with its candidates."""

    settings: dict[str, Setting]
    """Settings by which it differs from other cases, without the options to choose."""
    trials: list[Trial]

    @property
    def label(self) -> str:
        """Return the settings as a text."""
        return ", ".join(setting_label(name, value) for name, value in self.settings.items())


@dataclass(frozen=True)
class Plan:
    """All runs that a tuning sweep may train."""

    groups: list[Group]
    refused: list[Case]
    """Runs with all steps that their algorithms refuse."""


def plan_tuning(sweep: SweepFile, tune: Tune, ranks: int, out: Path) -> Plan:
    """Return the runs of every candidate of every case in every rung.

    Errors: UserError as for `plan`, for runs that a target ends early, and without a split.
    """
    names = [name for name in label_names(sweep) if name not in tune.options]
    names = names or [name for name in ALWAYS if name not in tune.options]
    labels = list(dict.fromkeys([*names, *(x.partition(".")[0] for x in tune.options)]))
    base, values = sweep.cases(), tune.candidates()
    if len(base) * len(values) * tune.rungs > MOST:
        raise UserError(
            f"{sweep.path}: {len(base):,} cases, {len(values):,} candidates and {tune.rungs} rungs "
            f"are more than {MOST:,} runs: shorten a list"
        )
    options = [_with_value(case, value) for case in base for value in values]
    full = checked(sweep, options, labels, ranks, out / RUNGS)
    rungs = []
    for rung in range(tune.rungs - 1):
        short = [
            x | {"steps": str(_steps(sweep, tune, case, rung))}
            for x, case in zip(options, full, strict=True)
        ]
        rungs.append(checked(sweep, short, labels, ranks, out / RUNGS))
    groups: dict[tuple[tuple[str, str], ...], dict[int, list[list[Case]]]] = {}
    settings: list[dict[str, Setting]] = []
    refused = []
    for number, runs in enumerate(zip(*rungs, full, strict=True)):
        if runs[-1].refused:
            refused.append(runs[-1])
            continue
        case = base[number // len(values)]
        key = _without_seed(case)
        if key not in groups:
            settings.append({name: _setting(name, case, runs[-1], tune) for name in names})
        own = groups.setdefault(key, {}).setdefault(number % len(values), [])
        own.append(list(runs))
    cases = [
        Group(own, [_trial(values[i], runs) for i, runs in some.items()])
        for own, some in zip(settings, groups.values(), strict=True)
    ]
    return Plan(cases, refused)


def _with_value(case: Options, value: Value) -> Options:
    """Return the options of a case with those of a candidate."""
    options = dict(case)
    for name, text in value.items():
        spec, dot, key = name.partition(".")
        before = str(options.get(spec, TABLE.entries[spec].default))
        options[spec] = with_option(before, key, text) if dot else text
    return options


def _setting(name: str, case: Options, run: Case, tune: Tune) -> Setting:
    """Return a setting of a case as its label shows it, without the options to choose."""
    if any(x.partition(".")[0] == name for x in tune.options):
        return case.get(name, str(TABLE.entries[name].default))
    return run.settings[name]


def _steps(sweep: SweepFile, tune: Tune, case: Case, rung: int) -> int:
    options = case.experiment.options
    if options.target is not None:
        raise UserError(
            f"{sweep.path}: target {options.target:g} ends runs early, so that candidates have no "
            f"common number of steps: leave it out, or [{TUNE}]"
        )
    if options.epochs:
        raise UserError(
            f"{sweep.path}: [{TUNE}] counts runs in steps, got epochs {options.epochs:g}: give "
            "steps in their place"
        )
    if not options.validation:
        raise UserError(
            f"{sweep.path}: [{TUNE}] chooses on held-out training samples, but {case} has none: "
            "set validation = 0.2"
        )
    try:
        return tune.steps(options.steps, rung)
    except UserError as error:
        raise UserError(f"{sweep.path}: {error}") from None


def _without_seed(options: Options) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, text) for name, text in options.items() if name != "seed"))


def _trial(value: Value, by_seed: Sequence[list[Case]]) -> Trial:
    """Return a candidate; by_seed: its runs in every rung, of each seed."""
    settings = by_seed[0][-1].settings
    own = {name: settings[name] if name in settings else _plain(x) for name, x in value.items()}
    return Trial(own, [list(x) for x in zip(*by_seed, strict=True)])


def _plain(text: str) -> Setting:
    """Return a number where a text is one, else the text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def results_there(
    comm: MPI.Intracomm, groups: Sequence[Group], out: Path
) -> tuple[dict[str, Outcome], list[str]]:
    """Return the finished results of all rungs by case hash, and unreadable files; collective.

    Errors: UserError as of finished_cases.
    """
    every = [case for group in groups for trial in group.trials for x in trial.rungs for case in x]
    experiments = {case.hash: case.experiment for case in every}
    ranks, _ = use_threads(comm, 0)

    def look() -> tuple[dict[str, Outcome], list[str]]:
        below, broken = finished_cases(out / RUNGS, experiments, ranks)
        here, broken_here = finished_cases(out, experiments, ranks)
        return below | here, broken + broken_here

    there: tuple[dict[str, Outcome], list[str]] = comm.bcast(
        on_all_ranks(comm, lambda: look() if comm.rank == 0 else ({}, []))
    )
    return there
