"""How long cases have taken whose results lie in a folder."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import datetime
from pathlib import Path

from bench.results import contents
from bench.results.reader import BrokenFileError
from bench.results.schema import COMPLETE
from slurm.checking import kin

WANTED = ("status", "params_json", "ranks", "attempt", "created_utc", "closed_utc")


def seconds(folder: Path, kins: Collection[str]) -> dict[str, list[float]]:
    """The times of complete runs, the start of the program left out, by the kin of their case.

    Runs that went on after a break are left out, and files that cannot be read.
    """
    found: dict[str, list[float]] = {}
    for path in sorted(folder.glob("[!.]*.h5")):
        try:
            whose, took = _one(path)
        except (BrokenFileError, KeyError, ValueError, TypeError, AttributeError):
            continue
        if whose in kins:
            found.setdefault(whose, []).append(took)
    return found


def _one(path: Path) -> tuple[str, float]:
    """The kin of a result and its time; no kin where the time says nothing."""
    with contents.opened(path) as file:
        said = contents.attributes(file, WANTED)
    if said["status"] != COMPLETE or int(said.get("attempt", 1)) > 1:
        return "", 0.0
    began, ended = (datetime.fromisoformat(said[x]) for x in ("created_utc", "closed_utc"))
    whose = kin(json.loads(said["params_json"]), int(said["ranks"]))
    return whose, (ended - began).total_seconds()
