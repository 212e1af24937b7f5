"""The result files that paths name or hold."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.common.files import RESULTS
from bench.common.spec import UserError


def find(paths: Sequence[str]) -> list[Path]:
    """The result files that the paths name or hold, each once.

    Whatever has the name of a result is found: what reads it tells what is wrong with it.
    Errors: UserError for a path that is not there, or where nothing is found.
    """
    found: dict[str, Path] = {}
    for path in paths:
        if not os.path.lexists(path):
            raise UserError(f"{path} does not exist: name a result file or a folder of them")
        for place, file in _within(path) if os.path.isdir(path) else _alone(path):
            found.setdefault(place, file)
    if not found:
        raise UserError(
            f"no result file (*.h5, *.h5.part) in {', '.join(paths)}: "
            "the programs write them into the folder of their --out"
        )
    return list(found.values())


def _alone(path: str) -> Iterator[tuple[str, Path]]:
    yield os.path.realpath(path), Path(path)


def _within(top: str) -> Iterator[tuple[str, Path]]:
    """Where it really lies, and its path, of each result in the folder and below it, sorted."""
    files: list[tuple[str, Path]] = []
    for folder, below, names in os.walk(top):
        real = os.path.realpath(folder)
        named = [x for x in (*names, *below) if x.endswith(RESULTS) and not x.startswith(".")]
        for name in named:
            path = os.path.join(folder, name)
            linked = os.path.islink(path)
            place = os.path.realpath(path) if linked else os.path.join(real, name)
            files.append((place, Path(path)))
        below[:] = [x for x in below if not x.startswith(".")]
    yield from sorted(files, key=lambda x: x[1])
