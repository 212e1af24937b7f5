"""Running again exactly what a result file says, and whether it came out the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from bench.common.spec import UserError
from bench.data.opening import digest
from bench.results import provenance
from bench.results.reader import BrokenFileError, Run, read
from bench.runtime.config import TrainConfig

VARIABLE = ("load", "kernel", "cores")
"""Of a machine, what does not change the numbers."""


def load(path: Path) -> Run:
    """The run that a file tells of. Errors: UserError where it cannot be read."""
    try:
        return read(path)
    except BrokenFileError as error:
        raise UserError(f"--repeat {error}") from None


def settings(path: Path) -> dict[str, Any]:
    """Every option that decides the numbers of the run in a file, by name, and its ranks.

    Errors: UserError where the file cannot be read, or says what this suite does not know.
    """
    run = load(path)
    decides = {f.name for f in fields(TrainConfig) if not f.metadata.get("aside")}
    strange = run.params.keys() - decides - {"options"}
    if strange:
        raise UserError(
            f"--repeat {path}: it has an option {min(strange)!r} that this suite does not know: it "
            f"was written by version {run.attributes.get('suite_version', '?')}, use that one"
        )
    known = {name: value for name, value in run.params.items() if name in decides}
    return known | {"ranks": int(run.attributes["ranks"])}


def check_only_aside(path: str, given: Mapping[str, Any]) -> None:
    """Refuse options beside --repeat that would make another experiment of it.

    Errors: UserError.
    """
    aside = {f.name: f.metadata.get("aside") for f in fields(TrainConfig)}
    other = [name for name in given if not aside[name] or name == "ranks"]
    if other:
        option = "--" + other[0].replace("_", "-")
        raise UserError(
            f"--repeat {path} runs exactly what the file says: leave {option} out, or give all "
            "options by themselves"
        )


def free_name(path: Path, out: Path) -> str:
    """A name for the repetition of a file that nothing in `out` has: NAME-2, NAME-3, ..."""
    stem, number = path.name.removesuffix(".part").removesuffix(".h5"), 2
    while any((out / f"{stem}-{number}.h5{end}").exists() for end in ("", ".part")):
        number += 1
    return f"{stem}-{number}"


def before(config: TrainConfig, threads: int) -> Run | None:
    """The run that is repeated, None where none is; threads: how many a rank has now.

    Errors: UserError where threads or data are others than they were.
    """
    if not config.repeat:
        return None
    run = load(Path(config.repeat))
    was = int(run.attributes.get("threads_per_rank", threads))
    if was != threads:
        raise UserError(
            f"--repeat {run.path}: it ran {was} thread(s) a rank, here are {threads}: set "
            f"OMP_NUM_THREADS={was}"
        )
    sums = str(run.attributes.get("data_sha256", "")), digest(config.data) if config.data else ""
    if sums[0] != sums[1]:
        raise UserError(
            f"--repeat {run.path}: {config.data} is not what it was: its SHA-256 was {sums[0]}, "
            f"it is {sums[1]}"
        )
    return run


def changes(run: Run) -> list[str]:
    """What is not as it was when a run was made, a text each: software and processor."""
    lines = []
    for what, now in (("packages", provenance.packages()), ("machine", provenance.machine())):
        before = json.loads(run.texts.get(what, "{}"))
        lines += [
            f"{name} is {now[name]}, in {run.path} it was {before[name]}"
            for name in now
            if name in before and name not in VARIABLE and before[name] != now[name]
        ]
    return lines


def verdict(before: Run, after: Run) -> str:
    """Whether a repetition ended as the run did, as a text."""
    was, now = (str(x.attributes.get("parameters_sha256", "")) for x in (before, after))
    if not was:
        return f"{before.path} has no final parameters to compare: it is {before.status}"
    if was == now:
        return f"the same parameters as {before.path}, to the bit"
    if not after.taken().all():
        return f"other parameters than {before.path}: an asynchronous run depends on its timing"
    return f"OTHER parameters than {before.path}, SHA-256 {was[:12]}..., here {now[:12]}..."
