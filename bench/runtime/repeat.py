"""Running again exactly what a result file says, and whether it came out the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.common.options import flag
from bench.common.spec import UserError
from bench.data.opening import digest
from bench.results import provenance
from bench.results.reader import BrokenFileError, Run, read
from bench.runtime.options import TABLE, TrainOptions

VARIABLE = ("load", "kernel", "cores")
"""Of a machine, what does not change the numbers."""


def load(path: Path) -> Run:
    """The run that a file tells of. Errors: UserError where it cannot be read."""
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
    return values | {"ranks": int(run.attributes["ranks"])}


def check_only_aside(path: str, values: Mapping[str, Any]) -> None:
    """Check that the options beside --repeat keep the experiment as it is. Errors: UserError."""
    entries = TABLE.entries
    other = [name for name in values if not entries[name].metadata["aside"] or name == "ranks"]
    if other:
        raise UserError(
            f"--repeat {path} runs exactly what the file says: leave {flag(other[0])} out, or give "
            "all options by themselves"
        )


def free_name(path: Path, out: Path) -> str:
    """A name for the repetition of a file that nothing in `out` has: NAME-2, NAME-3, ..."""
    stem, number = path.name.removesuffix(".part").removesuffix(".h5"), 2
    while any((out / f"{stem}-{number}.h5{end}").exists() for end in ("", ".part")):
        number += 1
    return f"{stem}-{number}"


def before(options: TrainOptions, threads: int) -> Run | None:
    """The run that is repeated, None where none is; threads: how many a rank has now.

    Errors: UserError where threads or data are others than they were.
    """
    if not options.repeat:
        return None
    run = load(Path(options.repeat))
    was = int(run.attributes.get("threads_per_rank", threads))
    if was != threads:
        raise UserError(
            f"--repeat {run.path}: it ran {was} thread(s) a rank, here are {threads}: set "
            f"OMP_NUM_THREADS={was}"
        )
    sums = str(run.attributes.get("data_sha256", "")), digest(options.data) if options.data else ""
    if sums[0] != sums[1]:
        raise UserError(
            f"--repeat {run.path}: {options.data} is not what it was: its SHA-256 was {sums[0]}, "
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
