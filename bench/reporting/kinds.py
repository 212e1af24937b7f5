"""The kinds of results that a report reads, by the program that writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.reporting import training_report
from bench.reporting.chapter import Kind
from bench.reporting.collectives import report as collectives_report
from bench.reporting.consensus import report as consensus_report
from bench.results.origin import program_of
from bench.results.reader import BrokenFileError
from bench.results.schema import PART

KINDS: dict[str, Kind] = {
    "bench.train": training_report,
    "bench.collectives": collectives_report,
    "bench.consensus": consensus_report,
}


def load(path: Path) -> tuple[str, Any]:
    """The program that wrote a file, and what its kind keeps of it.

    Errors: BrokenFileError.
    """
    try:
        program = program_of(path)
        if program == PART:
            raise BrokenFileError(
                f"{path}: steps of some ranks only: put the run together by bench.merge"
            )
        if program not in KINDS:
            raise BrokenFileError(
                f"{path}: written by {program!r}, this suite reads {', '.join(KINDS)}"
            )
        return program, KINDS[program].load(path)
    except BrokenFileError:
        if path.suffix != ".part" or path.exists():
            raise
    return load(path.with_suffix(""))  # it ended since the folder was listed
