"""Cases of a sweep, checked before the first one is trained, and their finished results."""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from bench.common.spec import UserError
from bench.common.text import Setting, format_score, setting_label
from bench.reporting.training.choice import resolution_of
from bench.reporting.training.runs import digest
from bench.results.claims import holder
from bench.results.guard import readings
from bench.results.provenance import derive_from, program_of
from bench.results.reader import BrokenFileError, Run
from bench.results.reader import read as read_result
from bench.results.schema import COMPLETE, DIVERGED, RUNNING
from bench.runtime import identity
from bench.runtime.checks import RefusedError
from bench.runtime.experiment import Experiment
from bench.runtime.options import TABLE
from bench.sweep.file import SKIP, Options, SweepFile

ALWAYS = ("algorithm", "partition")
"""Options that name a case where only seeds vary."""


@dataclass(frozen=True)
class Case:
    """One run of bench.train."""

    experiment: Experiment
    settings: dict[str, Setting]
    """The options by which it differs from other cases, without the seed."""
    refused: str = ""
    """The reason for which its algorithm cannot serve so many workers; empty where it can."""

    @property
    def hash(self) -> str:
        """The case_hash of its result."""
        return self.experiment.hash

    @property
    def group(self) -> str:
        """Its settings as a text; cases of one group differ in the seed alone."""
        return ", ".join(setting_label(name, value) for name, value in self.settings.items())

    def __str__(self) -> str:
        return f"{self.group}, seed {self.experiment.options.seed}"


def plan(sweep: SweepFile, ranks: int, out: Path) -> list[Case]:
    """Return the cases on a number of ranks, in the order of the file; out: folder of results.

    Errors: UserError for an option that bench.train refuses, for two equal cases, and for an
    algorithm that refuses its workers where the file does not skip such cases.
    """
    return checked(sweep, sweep.cases(), label_names(sweep), ranks, out)


def label_names(sweep: SweepFile) -> list[str]:
    """Return the options that name a case, besides the seed."""
    return [name for name in sweep.varying() if name != "seed"] or list(ALWAYS)


def checked(
    sweep: SweepFile, cases_: Iterable[Options], names: Sequence[str], ranks: int, out: Path
) -> list[Case]:
    """Return cases with these options, each checked; names: options of the labels; see `plan`."""
    cases: dict[str, Case] = {}
    for options in cases_:
        case = _case(sweep, options, names, ranks, out)
        if case.hash in cases:
            raise UserError(
                f"{sweep.path}: two cases are the same experiment: {cases[case.hash]}; and {case}: "
                "take one out"
            )
        cases[case.hash] = case
    every = list(cases.values())
    if all(case.refused for case in every):
        raise UserError(f"{sweep.path}: nothing is left to run: {every[0]}: {every[0].refused}")
    return every


def _case(sweep: SweepFile, options: Options, names: Sequence[str], ranks: int, out: Path) -> Case:
    label = ", ".join(setting_label(x, options[x]) for x in [*names, "seed"] if x in options)
    where = f"{sweep.path}: {label}" if label else str(sweep.path)
    refused = ""
    # An earlier attempt is resumed, or replaced where it has no checkpoint.
    decided = {"out": str(out), "resume": "true", "overwrite": "true"}
    try:
        experiment = Experiment.resolve(TABLE.build(options | decided), ranks)
        experiment.check()
    except RefusedError as error:
        refused = error.reason
        if not sweep.skip_refused:
            raise UserError(
                f"{where}: {refused}; `{SKIP} = true` in the file leaves such cases out"
            ) from None
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    settings = {name: getattr(experiment.options, name) for name in names}
    return Case(experiment, settings, refused)


def by_seed(cases: Sequence[Case]) -> dict[tuple[str, str], list[Case]]:
    """Return groups of cases that differ in the seed alone, by label and reason of refusal."""
    groups: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        groups.setdefault((case.group, case.refused), []).append(case)
    return groups


def seeds_of(cases: Sequence[Case]) -> str:
    """Return the seeds of some cases as text: `seed 0`, `seeds 0, 1, 2`, `seeds 0 ... 99`."""
    seeds = [case.experiment.options.seed for case in cases]
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    return "seeds " + (
        ", ".join(map(str, seeds)) if len(seeds) <= 10 else f"{seeds[0]} ... {seeds[-1]}"
    )


@dataclass(frozen=True)
class Outcome:
    """Outcome of a case, small enough that a sweep keeps those of all its cases."""

    path: Path
    status: str
    metric: str
    """Name and value of the mean model's metric at the end."""
    reason: str
    flaws: str
    """Flaws in the binding of the ranks to cores, separated by semicolons."""
    direction: str
    """`max` if a larger metric is better, else `min`."""
    score: float
    """Metric on the validation split at the end; NaN without a split."""
    resolution: float
    """Smallest difference of scores, one sample of the validation split; 0 if no share of it."""


def read_outcome(path: Path) -> Outcome:
    """Return the outcome of the run in a result file.

    Errors: BrokenFileError, also for a file from which no table can be made.
    """
    return _outcome(read_result(path))


def _outcome(run: Run) -> Outcome:
    whole = derive_from(run.path, lambda: digest(run))
    row = whole.row
    return Outcome(
        path=run.path,
        status=row.status,
        metric=f"{row.metric_name} {format_score(row.metric)}",
        reason=str(run.attributes.get("reason", "")),
        flaws=str(run.attributes.get("binding_flaws", "")),
        direction=whole.direction,
        score=row.validation_metric,
        resolution=resolution_of([whole], "validation"),
    )


def finished_cases(
    folder: Path, cases: Mapping[str, Experiment], ranks: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Outcome], list[str]]:
    """Return the finished results of some cases in a folder, by case hash, and unreadable files.

    Complete and diverged runs are finished: training them again would end the same. cases:
    experiments by case hash; ranks: as use_threads returns them. Errors: UserError where a living
    process writes one of them, or where one is of other inputs, threads or variables.
    """
    outcomes: dict[str, Outcome] = {}
    broken = []
    with closing(
        readings(sorted(folder.glob("[!.]*.h5")), partial(_finished, set(cases)))
    ) as answers:
        for answer in answers:
            if isinstance(answer, BrokenFileError):
                broken.append(" ".join(str(answer).split()))
            elif answer is not None:
                case, run, outcome = answer
                _check_identity(run, cases[case], ranks)
                outcomes[case] = outcome
    for path in sorted(folder.glob("[!.]*.h5.part")):
        _refuse_living(path, cases)
    return outcomes, broken


def _finished(cases: Collection[str], path: Path) -> tuple[str, Run, Outcome] | None:
    """Return case hash, run without its numbers, and outcome, if it is a finished run of the cases.

    Errors: BrokenFileError.
    """
    if program_of(path) != "bench.train":
        return None
    run = read_result(path)
    case = str(run.attributes.get("case_hash"))
    if case not in cases or run.status not in (COMPLETE, DIVERGED):
        return None
    return case, replace(run, train={}, evals={}, partition={}, workers={}), _outcome(run)


def _check_identity(run: Run, experiment: Experiment, ranks: Sequence[Mapping[str, Any]]) -> None:
    """Check that a result is of the inputs, threads and variables of now. Errors: UserError."""
    remedy = "give another --out"
    identity.check_inputs(run.path, run.attributes, identity.inputs(experiment), remedy)
    threads = experiment.options.threads
    places = [{**rank, "threads": threads or rank["threads"]} for rank in ranks]
    identity.check_arithmetic(run, places, remedy)


def _refuse_living(path: Path, hashes: Collection[str]) -> None:
    """Refuse a file of these cases that a living process writes. Errors: UserError."""
    try:
        run = read_result(path)
    except BrokenFileError:  # its case replaces it
        return
    if run.status != RUNNING or run.attributes.get("case_hash") not in hashes:
        return
    owner = holder(path.with_name(path.name.removesuffix(".part")))
    here = run.attributes["host"] == socket.gethostname()
    writer = f"process {run.attributes['pid']}"
    if owner or here:
        raise UserError(
            f"{path} is being written by {owner or writer}: wait until "
            "it has ended, or give another --out"
        )
