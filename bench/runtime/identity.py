"""Identity of a run beyond its options: contents of its input files, and arithmetic of its ranks.

`case_hash` covers the options alone. Runs with equal options have other numbers where a file that
they read has other contents, and other bits where threads, instructions or libraries round in
another order. A run is never continued with other inputs, threads or variables. On a processor
with other instructions, which no variable restores, it continues with a note, and its file records
both. Properties that an older file does not record count as unknown, not as different.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.common.spec import UserError, option_fields
from bench.common.text import counted
from bench.data.opening import digest
from bench.results import contents, provenance
from bench.results.environment import INSTRUCTIONS, SHA_DIGITS, THREADS, Arithmetic, arithmetic
from bench.results.reader import Run
from bench.runtime.experiment import REGISTRIES, Experiment

DATA = "--data"
INPUTS = ("data_sha256", "inputs_json")
"""Attributes with the SHA-256 of --data, and of the other inputs by option."""
SOURCE = "source"
"""End of the name of an input that is the file of a class of the user's own."""
THEN = " then "
"""Separator of the instructions of several attempts of a run."""


@dataclass(frozen=True)
class Input:
    """File that a run reads."""

    path: str
    sha256: str
    """64 hex digits; empty if it cannot be read, which its reader reports."""


def inputs(experiment: Experiment, folder: Path = Path()) -> dict[str, Input]:
    """Return every file that a run in a folder reads, by option: `--data`, `--partition path`."""
    paths = {DATA: experiment.options.data} if experiment.options.data else {}
    for kind in REGISTRIES:
        paths |= dict(_paths(getattr(experiment, kind), f"--{kind}"))
    paths |= {f"--{place} {SOURCE}": path for place, path in experiment.sources.items()}
    return {option: Input(path, _sum(folder / path)) for option, path in paths.items()}


def _paths(part: object, option: str) -> Iterator[tuple[str, str]]:
    """Yield the files among the options of an object, and of the objects among its options."""
    for name, entry in option_fields(type(part)).items():
        value = getattr(part, name)
        if entry.metadata.get("path") and value:
            yield f"{option} {name}", value
        elif entry.metadata.get("registry"):
            yield from _paths(value, f"{option} {name}")


def _sum(path: Path) -> str:
    try:
        return digest(str(path))
    except OSError:
        return ""


def input_attributes(files: Mapping[str, Input]) -> dict[str, str]:
    """Return the attributes of a result with the SHA-256 of its inputs."""
    others = {option: file.sha256 for option, file in files.items() if option != DATA}
    data = {"data_sha256": files[DATA].sha256} if DATA in files else {}
    return data | {"inputs_json": json.dumps(others)}


def changed_inputs(
    attributes: Mapping[str, Any], files: Mapping[str, Input]
) -> tuple[list[str], list[str]]:
    """Return texts on inputs that differ from those of a result, and paths it does not record."""
    before = json.loads(str(attributes.get("inputs_json", "{}")))
    before[DATA] = str(attributes.get("data_sha256", ""))
    changed, unknown = [], []
    for option, file in files.items():
        was, now = before.get(option, ""), file.sha256
        if was and now and was != now:
            other = "other data" if option == DATA else f"another file of {option}"
            sums = f"was {was[:SHA_DIGITS]}, is {now[:SHA_DIGITS]}"
            changed.append(f"of {other}: the SHA-256 of {file.path} {sums}")
        elif now and not was:
            unknown.append(file.path)
    return changed, unknown


def check_inputs(
    result: Path | str, attributes: Mapping[str, Any], files: Mapping[str, Input], remedy: str
) -> list[str]:
    """Check that a result is of these inputs; return a note on inputs that it does not record.

    remedy: the way out besides restoring the file. Errors: UserError with both sums.
    """
    changed, unknown = changed_inputs(attributes, files)
    if changed:
        raise UserError(f"{result} is {changed[0]}: restore the file, or {remedy}")
    text = f"{result} does not record the SHA-256 of {', '.join(unknown)}: taken as unchanged"
    return [text] if unknown else []


@dataclass(frozen=True)
class Change:
    """Property that differs between a result and a later one, or this process."""

    name: str
    before: str
    now: str

    def __str__(self) -> str:
        if self.name == THREADS:
            threads = counted(int(self.before), "thread")
            return f"it ran {threads} per rank, now there are {self.now}"
        return f"{self.name} is {self.now or 'not set'}, was {self.before or 'not set'}"

    @property
    def remedy(self) -> str:
        """Setting of the environment that restores it; empty for instructions."""
        if self.name == INSTRUCTIONS:
            return ""
        name = "OMP_NUM_THREADS" if self.name == THREADS else self.name
        return f"set {name}={self.before}" if self.before else f"unset {name}"


def arithmetic_of(ranks: Sequence[Mapping[str, Any]]) -> Arithmetic:
    """Return the arithmetic of this process; ranks: as use_threads returns them."""
    return arithmetic(
        {"threads_per_rank": ranks[0]["threads"]},
        {"instructions": np.array([rank["instructions"].encode() for rank in ranks])},
        {"environment": json.dumps(provenance.environment())},
    )


def changes(before: Arithmetic, now: Arithmetic) -> list[Change]:
    """Return the properties that differ, of those that both record."""
    names = [x for x in now if x in before and before[x] != now[x]]
    # A process that has not loaded torch does not know its instruction set.
    names = [x for x in names if x != INSTRUCTIONS or (before[x] and now[x])]
    return [Change(x, before[x], now[x]) for x in names]


def check_arithmetic(run: Run, ranks: Sequence[dict[str, Any]], remedy: str) -> list[str]:
    """Check that a run continues with the arithmetic of its file; return notes.

    ranks: as use_threads returns them; instructions before and now are joined, for the file.
    remedy: the way out besides restoring a variable. Errors: UserError.
    """
    before, notes = run.arithmetic(), []
    known = before.get(INSTRUCTIONS, "")
    last = {INSTRUCTIONS: known.rpartition(THEN)[2]} if known else {}
    for change in changes(before | last, arithmetic_of(ranks)):
        if change.remedy:
            raise UserError(f"{run.path}: {change}: {change.remedy}, or {remedy}")
        notes.append(f"{run.path}: {change}: bits differ from a run without interruption")
    for rank in ranks if known else ():
        same = last[INSTRUCTIONS] == rank["instructions"]
        rank["instructions"] = known if same else f"{known}{THEN}{rank['instructions']}"
    if INSTRUCTIONS not in before:
        notes.append(f"{run.path} does not record the instruction set of torch: taken as unchanged")
    return notes


def notes_on(result: Path, ranks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each change of arithmetic since a finished result. Errors: UserError."""
    differences = changes(origin(result).arithmetic(), arithmetic_of(ranks))
    return [f"{result}: {change}" for change in differences]


def origin(result: Path) -> Run:
    """Read the attributes, hosts and texts of a result. Errors: BrokenFileError."""
    with contents.open_hdf5(result) as file:
        attributes = contents.attributes(file)
    return provenance.read_origin(result, attributes)


def other_place(experiment: Experiment) -> str:
    """Return the remedy for a result of another run in the place of this one."""
    if experiment.options.overwrite:  # a sweep resumes and replaces
        return "give another --out"
    return "give another --name, or --overwrite instead of --resume"
