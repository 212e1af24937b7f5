"""What of a sweep lies in its folder already."""

from __future__ import annotations

import socket
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from bench.common.spec import UserError
from bench.reporting.digest import digest
from bench.results.origin import derived, program_of
from bench.results.reader import BrokenFileError, Run, read
from bench.results.schema import COMPLETE, DIVERGED, RUNNING


@dataclass(frozen=True)
class Outcome:
    """How a case ended, small enough to hold any number of."""

    path: Path
    status: str
    metric: str
    """Name and value of the mean model's metric at the end."""
    reason: str
    flaws: str
    """What is wrong with the binding of the ranks."""


def outcome(path: Path) -> Outcome:
    """How the run of a result file ended.

    Errors: BrokenFileError, also for a file of which no table can be made.
    """
    return _outcome(read(path))


def _outcome(run: Run) -> Outcome:
    row = derived(run.path, lambda: digest(run)).row
    return Outcome(
        path=run.path,
        status=row["status"],
        metric=f"{row['metric_name']} {row['metric']:.4f}",
        reason=str(run.attributes.get("reason", "")),
        flaws=str(run.attributes.get("binding_flaws", "")),
    )


def standing(folder: Path, wanted: Collection[str]) -> tuple[dict[str, Outcome], list[str]]:
    """The finished results of these cases in a folder, by case hash; and what cannot be read.

    Complete and diverged runs are finished: the same again would end the same.
    Errors: UserError where a living process of this host is writing one of them.
    """
    found: dict[str, Outcome] = {}
    broken = []
    for path in sorted(folder.glob("[!.]*.h5")):
        if program_of(path) != "bench.train":
            continue
        try:
            run = read(path)
            case = str(run.attributes.get("case_hash"))
            if case in wanted and run.status in (COMPLETE, DIVERGED):
                found[case] = _outcome(run)
        except BrokenFileError as error:
            broken.append(" ".join(str(error).split()))
    for path in sorted(folder.glob("[!.]*.h5.part")):
        _refuse_living(path, wanted)
    return found, broken


def _refuse_living(path: Path, wanted: Collection[str]) -> None:
    try:
        run = read(path)
    except BrokenFileError:  # nobody's: the case that has its place replaces it
        return
    here = run.attributes["host"] == socket.gethostname()
    if here and run.status == RUNNING and run.attributes.get("case_hash") in wanted:
        raise UserError(
            f"{path} is being written by process {run.attributes['pid']}: wait until that sweep "
            "has ended, or give another --out"
        )
