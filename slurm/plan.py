"""Plan of a sweep on a site: its cases, each checked as its program would check it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.collectives import config as measurement
from bench.collectives import options as measuring
from bench.common.spec import UserError, case_hash, unknown_name
from bench.common.text import setting_label
from bench.runtime import options as training
from bench.runtime.checks import RefusedError
from bench.runtime.experiment import Experiment
from bench.sweep.file import DECIDED, SKIP, TRAINING, Known, Options, SweepFile, read
from bench.sweep.plan import ALWAYS
from slurm.case import COLLECTIVES, PLACE, PROGRAMS, TRAIN, Case, Geometry, geometry
from slurm.site import CHECKOUT, Site

EXCLUDED = (*DECIDED, "csv", "full", "tail_lat")
"""Options that a sweep file may not set: the plan sets them, or all cases would share one file."""
MEASURING = tuple(name for name in measuring.TABLE.entries if name not in EXCLUDED)
KNOWN = Known(tuple(dict.fromkeys((*TRAINING.options, *MEASURING, "program", *PLACE))), EXCLUDED)
"""Options of a sweep file: those of both programs, and the geometry of a case."""
DEFAULTS: Mapping[str, Mapping[str, str]] = {
    TRAIN: training.TABLE.defaults(),
    COLLECTIVES: measuring.TABLE.defaults(),
}
"""Program -> the default values of its options."""


def kin(params: Mapping[str, Any], ranks: int) -> str:
    """Return 12 hex digits of the ranks and of resolved parameters without their seed."""
    return case_hash({name: value for name, value in params.items() if name != "seed"}, ranks)


def _training(case: Case) -> Case:
    ranks, refused = case.geometry.ranks, ""
    experiment = Experiment.resolve(training.TABLE.build(case.options), ranks)
    for path in experiment.sources.values():
        if not (CHECKOUT / path).is_file():
            raise UserError(
                f"{path} is not a file for a job, which starts in {CHECKOUT}: write "
                f"{Path(path).absolute()}"
            )
    try:
        experiment.check()
    except RefusedError as error:
        refused = error.reason
    return replace(
        case,
        options=_with_paths_of_now(case.options, vars(experiment.options) | experiment.params),
        hash=experiment.hash,
        name=experiment.default_name,
        kin=kin(experiment.params, ranks),
        refused=refused,
    )


def _with_paths_of_now(options: Options, resolved: Mapping[str, Any]) -> Options:
    """Return options with `~` and variables expanded: the job may have other variables."""
    return {
        name: str(resolved[name]) if {"$", "~"} & set(text) else text
        for name, text in options.items()
    }


def _measuring(case: Case) -> Case:
    ranks, config = case.geometry.ranks, measuring.configured(case.options)
    if ranks < 2:
        raise UserError(f"an all-reduce needs 2 ranks or more, got {ranks}")
    return replace(
        case,
        hash=measurement.case_hash(config, ranks),
        name=measurement.default_name(config, ranks),
        kin=kin(config.resolved(), ranks),
    )


CHECKS: Mapping[str, Callable[[Case], Case]] = {TRAIN: _training, COLLECTIVES: _measuring}
"""Program -> function that returns the case with its hash, name and refusal. Errors: UserError."""


def plan(path: Path, site: Site, settings: Sequence[str] = ()) -> list[Case]:
    """Return all cases of a sweep file, in its order, also those that their algorithms refuse.

    settings: NAME=VALUE, each replacing an option at the file's top level. Errors: UserError with
    the name of the case, for options that its program refuses, ranks that do not fit the site's
    nodes, two equal cases, and a sweep without a runnable case.
    """
    sweep = read(path, settings, KNOWN)
    if sweep.tune:
        raise UserError(
            f"{path}: [tune] trains a rung after the results of the one before, which a job array "
            f"cannot: run `mpirun -n P python -m bench.sweep {path}` within one job, or leave "
            "[tune] out"
        )
    cases: dict[str, Case] = {}
    for options in sweep.cases():
        case = _case(sweep, options, site)
        if case.hash in cases:
            raise UserError(
                f"{path}: two cases are the same experiment: {cases[case.hash].label}; and "
                f"{case.label}: remove one; ranks_per_node and minutes do not make cases differ"
            )
        cases[case.hash] = case
    result = list(cases.values())
    if all(case.refused for case in result):
        raise UserError(f"{path}: no case can run: {result[0].label}: {result[0].refused}")
    return _unique_names(result)


def arrays(cases: Sequence[Case]) -> list[tuple[Geometry, list[Case]]]:
    """Return the runnable cases by geometry, the largest first, each in the order of the file."""
    groups: dict[Geometry, list[Case]] = {}
    for case in cases:
        if not case.refused:
            groups.setdefault(case.geometry, []).append(case)
    return sorted(groups.items(), key=lambda x: (-x[0].node_hours, -x[0].ranks, x[0].part))


def _case(sweep: SweepFile, options: Options, site: Site) -> Case:
    label = _label(sweep, options)
    where = f"{sweep.path}: {label}"
    try:
        for name, text in options.items():
            # A job reads the options of its case from a file with one word a line.
            if any(x < " " or x == "\x7f" for x in text):
                raise UserError(f"{name} must not contain control characters, got {text!r}")
        program = options.get("program", TRAIN)
        if program not in PROGRAMS:
            raise unknown_name("program", program, PROGRAMS)
        place = geometry(options, site)
        own = {"program", "ranks", "ranks_per_node", "minutes"}
        own |= {"threads"} if program == COLLECTIVES else set()  # the job sets OMP_NUM_THREADS
        rest = {name: text for name, text in options.items() if name not in own}
        case = CHECKS[program](Case(program, rest, "", "", place, label))
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    if case.refused and not sweep.skip_refused:
        raise UserError(
            f"{where}: {case.refused}; `{SKIP} = true` in the file leaves such cases out"
        )
    return case


def _label(sweep: SweepFile, options: Options) -> str:
    """Return the label of a case: its varying values and the seed."""
    defaults = DEFAULTS.get(options.get("program", TRAIN), {})
    varying = [name for name in sweep.varying() if name not in ("seed", "minutes")]
    names = varying or list(ALWAYS)
    texts = {name: options.get(name, defaults.get(name, "")) for name in (*names, "seed")}
    values = {name: int(x) if x.isdecimal() else x for name, x in texts.items()}
    return ", ".join(setting_label(name, x) for name, x in values.items() if x != "")


def _unique_names(cases: Sequence[Case]) -> list[Case]:
    """Return the cases; those with equal names get their whole hash in the name."""
    count = Counter(case.name for case in cases)
    return [
        case if count[case.name] == 1 else replace(case, name=f"{case.name}-{case.hash}")
        for case in cases
    ]
