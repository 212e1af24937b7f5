"""What a case has left behind: the words of its result, and the last ones of its job's output."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.results.schema import COMPLETE, DIED, DIVERGED, FAILED, RUNNING
from slurm.campaign import Entry

FINISHED = (COMPLETE, DIVERGED)
"""The same again would end the same."""
TAIL_BYTES = 8192
"""So much of a job's output is looked at."""


@dataclass(frozen=True)
class Mark:
    """What a result file says of itself."""

    status: str
    reason: str = ""
    case: str = ""
    step: int = 0
    steps: int = 0
    """0 where the program counts none."""
    took_s: float = 0.0
    """From its first to its last write; 0 where it has not ended, or went on after a break."""
    alive: bool = False
    """Whether the process that writes it is seen on this host."""


def mark(path: Path) -> Mark:
    """What a result file says, closed or not. Errors: BrokenFileError."""
    from bench.results import contents
    from bench.results.provenance import process_started

    with contents.opened(path) as file:
        said = contents.attributes(file)
        taken = contents.column(file, "eval/step")[-1:] if contents.has(file, "eval/step") else ()
    status, here = str(said["status"]), said.get("host") == socket.gethostname()
    alive = here and process_started(int(said["pid"])) == said["pid_started"]
    if status == RUNNING and here and not alive:
        status = DIED
    again = int(said.get("attempt", 1)) > 1  # the wait in between says nothing of the case
    params: dict[str, Any] = json.loads(said.get("params_json", "{}"))
    return Mark(
        status,
        str(said.get("reason", "")),
        str(said.get("case_hash", "")),
        int(max(taken, default=0)),
        int(params.get("steps", 0)),
        0.0 if again else _seconds(str(said["created_utc"]), str(said["closed_utc"])),
        alive and status == RUNNING,
    )


def _seconds(begun: str, ended: str) -> float:
    try:
        return (datetime.fromisoformat(ended) - datetime.fromisoformat(begun)).total_seconds()
    except ValueError:
        return 0.0


def marks(folder: Path, entries: Sequence[Entry]) -> dict[str, Mark]:
    """What the results of these cases say, by hash; of a broken file what is wrong with it.

    A closed result counts before one that is being written anew. Files are read in processes of
    their own: a damaged one may crash its reader.
    """
    from bench.reporting.loading import readings
    from bench.results.contents import BrokenFileError
    from bench.results.resultfile import part_of

    there: list[tuple[str, Path]] = []
    for entry in entries:
        path = entry.case.result(folder)
        there += [(entry.case.hash, x) for x in (part_of(path), path) if x.exists()]
    made: dict[str, Mark] = {}
    with closing(readings([path for _, path in there], mark)) as answers:
        for (case, path), said in zip(there, answers, strict=True):
            if not isinstance(said, BrokenFileError):
                if said.case == case:
                    made[case] = said
            elif path.exists():  # else it has ended since, and its result is read next
                why = " ".join(str(said).split()).removeprefix(f"{path}: ")
                made.setdefault(case, Mark(FAILED, why, case))
    return made


def last_words(output: Path) -> str:
    """The last line of a job's output that tells an error, or else its last line."""
    try:
        with open(output, "rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - TAIL_BYTES, 0))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    ours = [x.removeprefix("error: ") for x in lines if x.startswith("error: ")]
    others = [x for x in lines if "error:" in x.lower()]
    return (ours or others or lines or [""])[-1]
