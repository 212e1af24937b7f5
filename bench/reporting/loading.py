"""Find result files and load them in several processes, in order."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.common.files import (
    REFUSALS,
    RESULTS,
    RUNGS,
    TUNE_RECORD,
    parse_json,
    read_text,
    walk,
)
from bench.common.spec import UserError
from bench.common.text import printable
from bench.reporting.chaos import report as chaos_report
from bench.reporting.chapter import Kind
from bench.reporting.collectives import report as collectives_report
from bench.reporting.consensus import report as consensus_report
from bench.reporting.pipeline import report as pipeline_report
from bench.reporting.simulate import report as simulate_report
from bench.reporting.training import report as training_report
from bench.results.guard import BrokenFileError, readings
from bench.results.provenance import program_of
from bench.results.schema import PART
from bench.results.validation import flaws


def find(paths: Sequence[str]) -> list[Path]:
    """Return the result files that the paths name or contain, each once.

    Files are selected by name; a file with invalid contents is reported when it is read. Folders
    with the short runs of a tuning sweep are left out, unless they are named.
    Errors: UserError for a path that does not exist, or if there is no result file.
    """
    files: dict[str, Path] = {}
    for path in paths:
        if not os.path.lexists(path):
            raise UserError(f"{path} does not exist: name a result file or a folder of them")
        for place, file in _within(path) if os.path.isdir(path) else _alone(path):
            files.setdefault(place, file)
    if not files:
        raise UserError(
            f"no result file (*.h5, *.h5.part) in {', '.join(paths)}: "
            "the programs write them into the folder of their --out"
        )
    return list(files.values())


def notes_on_rungs(paths: Sequence[str]) -> list[str]:
    """Return a line for each folder of short runs of a tuning sweep, which `find` leaves out."""
    return [
        f"left out: {sum(x.endswith(RESULTS) for x in names)} runs of candidates of a tuning "
        f"sweep: python -m bench.report {folder} reports them"
        for path in paths
        for folder, _, names in walk(path)
        if folder != path and _has_rungs(folder)
    ]


def notes_on_refusals(paths: Sequence[str]) -> list[str]:
    """Return a line for each case of the folders' sweeps that its algorithm refuses."""
    files = [
        Path(folder, REFUSALS)
        for path in paths
        for folder, _, names in walk(path)
        if REFUSALS in names
    ]
    return [f"refused: {line}" for file in files for line in _refusals(file)]


def _refusals(file: Path) -> list[str]:
    try:
        lines = parse_json(read_text(file))
    except (OSError, ValueError) as error:
        return [f"{file} cannot be read: {error}"]
    return [str(line) for line in lines] if isinstance(lines, list) else []


def _has_rungs(folder: str) -> bool:
    """Report whether a folder holds the short runs of a tuning sweep."""
    above, name = os.path.split(folder)
    return name == RUNGS and os.path.exists(os.path.join(above, TUNE_RECORD))


def _alone(path: str) -> Iterator[tuple[str, Path]]:
    yield os.path.realpath(path), Path(path)


def _within(top: str) -> Iterator[tuple[str, Path]]:
    """Yield the real path and the path of each result in the folder and below it, sorted."""
    files: list[tuple[str, Path]] = []
    for folder, folders, names in walk(top):
        if folder != top and _has_rungs(folder):
            continue
        real = os.path.realpath(folder)
        for name in (x for x in (*names, *folders) if x.endswith(RESULTS)):
            path = os.path.join(folder, name)
            linked = os.path.islink(path)
            place = os.path.realpath(path) if linked else os.path.join(real, name)
            files.append((place, Path(path)))
    yield from sorted(files, key=lambda x: x[1])


KINDS: dict[str, Kind] = {
    "bench.train": training_report,
    "bench.collectives": collectives_report,
    "bench.consensus": consensus_report,
    "bench.simulate": simulate_report,
    "bench.chaos": chaos_report,
    "bench.pipeline": pipeline_report,
}
"""Program -> the module that reports its results."""


def load(path: Path) -> tuple[str, Any]:
    """Return the program that wrote a file, and the data that its kind keeps.

    Errors: BrokenFileError.
    """
    try:
        program = program_of(path)
        if program == PART:
            raise BrokenFileError(
                f"{path}: holds the steps of some ranks only: combine the parts with bench.merge"
            )
        if program not in KINDS:
            raise BrokenFileError(
                f"{path}: written by {program!r}, this suite reads {', '.join(KINDS)}"
            )
        return program, KINDS[program].load(path)
    except BrokenFileError:
        if path.suffix != ".part" or path.exists():
            raise
    return load(path.with_suffix(""))  # the run ended after the folder was listed


def load_all(files: Sequence[Path], only: str) -> tuple[dict[str, list[Any]], list[str]]:
    """Load files in several processes, with a progress bar.

    only: the program whose files are kept, empty for all. Return the loaded files by program, and a
    line for each file that cannot be read.
    """
    from bench.reporting.terminal import progress

    loaded: dict[str, list[Any]] = {program: [] for program in KINDS}
    broken = []
    with closing(readings(files, load)) as answers:
        for answer in progress(answers, len(files), "files read"):
            if isinstance(answer, BrokenFileError):
                broken.append(" ".join(str(answer).split()))
            else:
                loaded[answer[0]].append(answer[1])
    return {x: files for x, files in loaded.items() if files and only in ("", x)}, broken


def validate(files: Sequence[Path]) -> int:
    """Check each file against the format and print the result; return the exit code."""
    n_invalid = 0
    with closing(readings(files, flaws)) as answers:
        for file, answer in zip(files, answers, strict=True):
            problems = [str(answer)] if isinstance(answer, Exception) else answer
            n_invalid += bool(problems)
            for problem in problems:
                print(printable(f"{file}: {problem.removeprefix(f'{file}: ')}"))
            if not problems:
                print(printable(f"valid: {file}"))
    print(f"{len(files) - n_invalid} of {len(files)} files are valid")
    return 1 if n_invalid else 0
