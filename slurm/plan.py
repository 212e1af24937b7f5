"""The cases of a sweep on a site, each checked as its program would check it before it starts."""

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
from bench.runtime.experiment import Experiment, RefusedError
from bench.sweep.file import DECIDED, SKIP, TRAINING, Known, Options, SweepFile, read
from bench.sweep.plan import ALWAYS
from slurm.case import COLLECTIVES, PLACE, PROGRAMS, TRAIN, Case, Geometry, geometry
from slurm.site import Site

TOLD = (*DECIDED, "csv", "full", "tail_lat")
"""What a sweep decides for every case, or what would be one file for all of them."""
MEASURING = tuple(name for name in measuring.TABLE.entries if name not in TOLD)
KNOWN = Known(tuple(dict.fromkeys((*TRAINING.options, *MEASURING, "program", *PLACE))), TOLD)
"""What a sweep file of this room may say: options of both programs, and where a case runs."""
USUAL: Mapping[str, Mapping[str, str]] = {
    TRAIN: training.TABLE.defaults(),
    COLLECTIVES: measuring.TABLE.defaults(),
}
"""Program -> the values of options that a case does not give."""


def kin(params: Mapping[str, Any], ranks: int) -> str:
    """12 hex digits of resolved parameters without their seed, and of the ranks."""
    return case_hash({name: value for name, value in params.items() if name != "seed"}, ranks)


def _training(case: Case) -> Case:
    ranks, refused = case.geometry.ranks, ""
    experiment = Experiment.resolve(training.TABLE.build(case.options), ranks)
    try:
        experiment.check()
    except RefusedError as error:
        refused = error.reason
    return replace(
        case,
        hash=experiment.hash,
        name=experiment.default_name,
        kin=kin(experiment.params, ranks),
        refused=refused,
    )


def _measuring(case: Case) -> Case:
    ranks, made = case.geometry.ranks, measuring.configured(case.options)
    if ranks < 2:
        raise UserError(f"an all-reduce needs 2 ranks or more, got {ranks}")
    return replace(
        case,
        hash=measurement.case_hash(made, ranks),
        name=measurement.default_name(made, ranks),
        kin=kin(made.resolved(), ranks),
    )


CHECKED: Mapping[str, Callable[[Case], Case]] = {TRAIN: _training, COLLECTIVES: _measuring}
"""Program -> the case with hash, name and why it is refused. Errors: UserError."""


ELEMENTS = 1000
"""Cases of a job array at most: Slurm's MaxArraySize is 1001 where a site says nothing else."""


def plan(path: Path, site: Site, settings: Sequence[str] = ()) -> list[Case]:
    """All cases of a sweep file, in its order; those refused by their algorithms say why.

    settings: NAME=VALUE, each instead of the option at the file's top level. Errors: UserError
    naming the case: what its program refuses, ranks that do not fit the site's nodes, two cases
    that are the same, nothing that can run.
    """
    sweep = read(path, settings, KNOWN)
    cases: dict[str, Case] = {}
    for options in sweep.cases():
        case = _case(sweep, options, site)
        if case.hash in cases:
            raise UserError(
                f"{path}: two cases are the same experiment: {cases[case.hash].label}; and "
                f"{case.label}: take one out; ranks_per_node and minutes do not make another"
            )
        cases[case.hash] = case
    made = list(cases.values())
    if all(case.refused for case in made):
        raise UserError(f"{path}: nothing is left to run: {made[0].label}: {made[0].refused}")
    return _parted(_named_apart(made))


def arrays(cases: Sequence[Case]) -> list[tuple[Geometry, list[Case]]]:
    """The cases that can run by what they ask for, the largest first, each in the file's order."""
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
            # A case is handed over as a file of one word a line.
            if any(x < " " or x == "\x7f" for x in text):
                raise UserError(f"{name} must not hold control characters, got {text!r}")
        program = options.get("program", TRAIN)
        if program not in PROGRAMS:
            raise unknown_name("program", program, PROGRAMS)
        place = geometry(options, site)
        apart = {"program", "ranks", "ranks_per_node", "minutes"}
        apart |= {"threads"} if program == COLLECTIVES else set()  # of the job alone
        rest = {name: text for name, text in options.items() if name not in apart}
        case = CHECKED[program](Case(program, rest, "", "", place, label))
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    if case.refused and not sweep.skip_refused:
        raise UserError(
            f"{where}: {case.refused}; `{SKIP} = true` in the file leaves such cases out"
        )
    return case


def _label(sweep: SweepFile, options: Options) -> str:
    """What sets a case apart, as a text: the values that vary, and the seed."""
    usual = USUAL.get(options.get("program", TRAIN), {})
    varying = [name for name in sweep.varying() if name not in ("seed", "minutes")]
    names = varying or list(ALWAYS)
    texts = {name: options.get(name, usual.get(name, "")) for name in (*names, "seed")}
    values = {name: int(x) if x.isdecimal() else x for name, x in texts.items()}
    return ", ".join(setting_label(name, x) for name, x in values.items() if x != "")


def _parted(cases: Sequence[Case]) -> list[Case]:
    """The cases, of each ELEMENTS that ask for the same the next part."""
    count = Counter[Geometry]()
    made = []
    for case in cases:
        part = count[case.geometry] // ELEMENTS
        count[case.geometry] += 1
        made.append(replace(case, geometry=replace(case.geometry, part=part)))
    return made


def _named_apart(cases: Sequence[Case]) -> list[Case]:
    """The cases, those whose names are the same by chance with their whole hash in them."""
    count = Counter(case.name for case in cases)
    return [
        case if count[case.name] == 1 else replace(case, name=f"{case.name}-{case.hash}")
        for case in cases
    ]
