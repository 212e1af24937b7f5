"""Repetition of the run in a result file, and its comparison with the original."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.common.options import flag
from bench.common.spec import UserError
from bench.common.text import counted
from bench.data.opening import digest
from bench.results import provenance
from bench.results.reader import BrokenFileError, Run, read
from bench.runtime.options import STEP, TABLE, TrainOptions

VARIABLE = ("load", "kernel", "cores")
"""Properties of a machine that leave the numbers unchanged."""


def load(path: Path) -> Run:
    """Read the run of a file. Errors: UserError."""
    try:
        return read(path)
    except BrokenFileError as error:
        raise UserError(f"--repeat {error}") from None


def read_options(argv: Sequence[str]) -> TrainOptions:
    """Return the options of a command line; with --repeat, those of the result file it names.

    Errors: UserError, also where the file cannot be read or has options unknown to this suite.
    """
    values = TABLE.values(TABLE.texts(argv))
    if values.get("repeat"):
        check_only_aside(values["repeat"], values)
        values = settings(Path(values["repeat"])) | values
    return TrainOptions(**values)


def settings(path: Path) -> dict[str, Any]:
    """Return the options that decide the numbers of the run in a file, by name, and its ranks.

    Errors: UserError where the file cannot be read or has options unknown to this suite.
    """
    run = load(path)
    names = {name for name, entry in TABLE.entries.items() if not entry.metadata["aside"]}
    strange = run.params.keys() - names - {"options"}
    if strange:
        raise UserError(
            f"--repeat {path}: its option {min(strange)!r} is unknown to this suite: the file was "
            f"written by version {run.attributes.get('suite_version', '?')}, use that version"
        )
    values = {name: value for name, value in run.params.items() if name in names}
    return {"eval_at": STEP} | values | {"ranks": int(run.attributes["ranks"])}


def check_only_aside(path: str, values: Mapping[str, Any]) -> None:
    """Check that the options beside --repeat keep the experiment as it is. Errors: UserError."""
    entries = TABLE.entries
    other = [name for name in values if not entries[name].metadata["aside"] or name == "ranks"]
    if other:
        raise UserError(
            f"--repeat {path} repeats the run exactly: leave {flag(other[0])} out, or give "
            "all options by themselves"
        )


def free_name(path: Path, out: Path) -> str:
    """Return the first free name in `out` for the repetition of a file: NAME-2, NAME-3, ..."""
    stem, number = path.name.removesuffix(".part").removesuffix(".h5"), 2
    while any((out / f"{stem}-{number}.h5{end}").exists() for end in ("", ".part")):
        number += 1
    return f"{stem}-{number}"


def original_run(options: TrainOptions, threads: int) -> Run | None:
    """Return the run to repeat, None without --repeat; threads: per rank now.

    Errors: UserError for another number of threads, or other data.
    """
    if not options.repeat:
        return None
    run = load(Path(options.repeat))
    threads_before = int(run.attributes.get("threads_per_rank", threads))
    if threads_before != threads:
        raise UserError(
            f"--repeat {run.path}: it ran {counted(threads_before, 'thread')} per rank, now "
            f"there are {threads}: set OMP_NUM_THREADS={threads_before}"
        )
    sums = str(run.attributes.get("data_sha256", "")), digest(options.data) if options.data else ""
    if sums[0] != sums[1]:
        raise UserError(
            f"--repeat {run.path}: {options.data} has changed: its SHA-256 was {sums[0]}, is "
            f"{sums[1]}: restore the file"
        )
    return run


def changes(run: Run) -> list[str]:
    """Return a line for each change of software and processor since a run."""
    lines = []
    for what, now in (("packages", provenance.packages()), ("machine", provenance.machine())):
        before = json.loads(run.texts.get(what, "{}"))
        lines += [
            f"{name} is {now[name]}, was {before[name]} in {run.path}"
            for name in now
            if name in before and name not in VARIABLE and before[name] != now[name]
        ]
    return lines


def verdict(before: Run, after: Run) -> str:
    """Return a text that compares the final parameters of a repetition with those of the run."""
    was, now = (str(x.attributes.get("parameters_sha256", "")) for x in (before, after))
    if not was:
        return f"{before.path} has no final parameters to compare: it is {before.status}"
    if was == now:
        return f"the same parameters as {before.path}, to the bit"
    if not after.step_mask().all():
        return f"other parameters than {before.path}: an asynchronous run depends on its timing"
    return f"OTHER parameters than {before.path}, SHA-256 {was[:12]}..., here {now[:12]}..."
