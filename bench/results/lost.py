"""Groups /lost and /homes: ranks that died under --on-death, and the rank of each worker since.

/lost   death: dimension scale; the columns of LOST by death
/homes  epoch, worker: dimension scales; attempt and step (epoch,), rank (epoch, worker)

An epoch begins with the recovery from a death; epoch 0 is the launch. All ranks are those of the
launch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bench.results import contents
from bench.results.resultfile import add_table

LOST = {
    "attempt": (np.int64, "1", "attempt of the run that began after the death, see /attempts"),
    "rank": (np.int32, "1", "rank of the launch that died"),
    "step": (np.int64, "1", "step that the other ranks had reached"),
    "back": (np.int64, "1", "step of the copy to which the run went back"),
    "recovery_ns": (np.int64, "ns", "time from the detection to the restored state"),
    "next_step_ns": (np.int64, "ns", "time from the detection to the end of the next steps; or -1"),
}
"""Dtype, units and long_name of each dataset of /lost; all are along `death`."""


NOWHERE = -1
"""Rank of a worker that left with its rank."""


@dataclass
class Death:
    """Death of a rank and the recovery from it; the fields are those of LOST."""

    rank: int
    attempt: int = 1
    step: int = 0
    back: int = 0
    recovery_ns: int = -1
    next_step_ns: int = -1


@dataclass(frozen=True)
class Homes:
    """Ranks that run the workers from a step on, until the next epoch."""

    attempt: int
    step: int
    ranks: Sequence[int]
    """Rank of the launch that runs each worker, W of them; NOWHERE for one that left."""


def write(file: h5py.File, deaths: Sequence[Death], homes: Sequence[Homes]) -> None:
    """Write the deaths and homes of a launch after those of earlier launches in an open file.

    deaths: one or more, by attempt.
    """
    rows = [vars(x) for x in deaths]
    columns = {name: np.array([x[name] for x in rows], LOST[name][0]) for name in LOST}
    at: dict[str, NDArray[Any]] = {
        "attempt": np.array([x.attempt for x in homes]),
        "step": np.array([x.step for x in homes]),
        "rank": np.array([x.ranks for x in homes], np.int32),
    }
    for group, new in (("lost", columns), ("homes", at)):
        if group in file:
            earlier = {name: file[group][name][()] for name in new}
            mask = earlier["attempt"] < new["attempt"][0]
            new |= {name: np.concatenate([earlier[name][mask], new[name]]) for name in new}
            del file[group]
    table = {name: (("death",), columns[name], *about[1:]) for name, about in LOST.items()}
    add_table(file, "lost", {"death": np.arange(len(columns["rank"]))}, table)
    count, workers = at["rank"].shape
    add_table(
        file,
        "homes",
        {"epoch": np.arange(count), "worker": np.arange(workers)},
        {
            "attempt": (("epoch",), at["attempt"], "1", "attempt of the run, see /attempts"),
            "step": (("epoch",), at["step"], "1", "number of steps before the epoch"),
            "rank": (
                ("epoch", "worker"),
                at["rank"],
                "1",
                "rank of the launch with the worker; or -1",
            ),
        },
    )


def read(path: Path) -> Mapping[str, NDArray[Any]]:
    """Return the columns of /lost of a file; empty without any. Errors: BrokenFileError."""
    with contents.open_hdf5(path) as file:
        return contents.columns(file, "lost", tuple(LOST))


def text(path: Path) -> str:
    """Return the deaths in a file as a text; empty without any. Errors: BrokenFileError."""
    table = read(path)
    names = ("rank", "step", "back", "recovery_ns")
    rows = zip(*(table[name].tolist() for name in names), strict=True) if table else ()
    return "; ".join(
        f"rank {rank} at step {step}, back to step {back} in {ns / 1e6:.0f} ms"
        for rank, step, back, ns in rows
    )


def layout(file: h5py.File) -> dict[str, dict[str, tuple[tuple[str, ...], Any, str]]]:
    """Return dimensions, dtype and units of the groups that an open file has."""
    if "lost" not in file:
        return {}
    return {
        "lost": {name: (("death",), dtype, units) for name, (dtype, units, _) in LOST.items()},
        "homes": {
            "attempt": (("epoch",), np.int64, "1"),
            "step": (("epoch",), np.int64, "1"),
            "rank": (("epoch", "worker"), np.int32, "1"),
        },
    }
