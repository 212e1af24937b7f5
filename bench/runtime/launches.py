"""Launches of one case: the names of their results, NAME.h5, NAME-2.h5, NAME-3.h5, ...

`--launches N` repeats a measurement in the processes of one mpirun, with everything rebuilt:
communicators, buffers, windows and tasks. What differs between processes only, such as the
placement of their memory, stays the same; for that, start the program again, and the next free name
is taken. The attribute `launch` of a result counts the runs of its processes: 1 in fresh ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.results.claims import Claim
from bench.results.resultfile import part_of
from bench.runtime.opening import prepare, take_on_root
from bench.session.launch import on_all_ranks

if TYPE_CHECKING:
    from mpi4py import MPI


def numbered(path: Path, number: int) -> Path:
    """Return the result file of a launch: NAME.h5 for the first, else NAME-number.h5."""
    stem = path.name.removesuffix(".h5")
    return path if number == 1 else path.with_name(f"{stem}-{number}.h5")


def results_of_launches(
    comm: MPI.Intracomm,
    path: Path,
    count: int,
    results: list[Claim],
    command: str,
    *,
    named: bool,
    overwrite: bool = False,
    resume: bool = False,
) -> list[Path]:
    """Return the result files of `count` launches of a case; collective.

    path: that of the first launch. command: the program. Where the user gave no name, the first
    free ones are taken. With overwrite and resume the files are the same in every run; resume alone
    continues the launch that is unfinished. Several results are claimed at once, and the claims are
    added to `results`. Errors: UserError on every rank where a living process writes one of several
    results, or where the user gave a name and one of several exists.
    """

    def choose() -> list[Path]:
        if resume and count == 1 and not (named or overwrite):
            return [_unfinished(path) or path]
        if named or overwrite or resume:
            return [numbered(path, number) for number in range(1, count + 1)]
        return _free(path, count)

    paths: list[Path] = comm.bcast(on_all_ranks(comm, lambda: choose() if comm.rank == 0 else []))

    def check() -> None:
        for result in paths if comm.rank == 0 and not resume else ():
            prepare(result, overwrite)

    if count > 1:
        for result in paths:
            take_on_root(comm, results, result, command)
        on_all_ranks(comm, check)
    return paths


def announcement(first: Path, result: Path, launch: int, count: int) -> str:
    """Return the line before a launch; empty for a single one with the name of the first."""
    if count > 1:
        shared = ", in the same processes as launch 1" if launch > 1 else ""
        return f"launch {launch} of {count}{shared}: {result}"
    return "" if result == first else f"{first} exists: this launch writes {result}"


def _free(path: Path, count: int) -> list[Path]:
    """Return the first result files that no finished launch has written."""
    free: list[Path] = []
    number = 0
    while len(free) < count:
        number += 1
        if not numbered(path, number).exists():
            free.append(numbered(path, number))
    return free


def _unfinished(path: Path) -> Path | None:
    """Return the first result after finished ones that a launch has begun and not ended."""
    number = 1
    while numbered(path, number).exists():
        number += 1
    result = numbered(path, number)
    return result if part_of(result).exists() else None
