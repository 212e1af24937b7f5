"""/attempts of a training file: when and where a run was begun, and each time that it went on.

A run that was asked to end keeps a checkpoint, and goes on from it in the same file: what the file
had beyond the checkpoint is cut off, steps and evaluations follow. Each attempt has clocks of its
own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from bench.results.resultfile import add_scale, describe

ATTEMPTS = {
    "row": (np.int64, "1", "its first row of /train"),
    "step": (np.int64, "1", "steps that had been taken when it began"),
    "sync": (np.int64, "1", "its first reading of /clock"),
    "ranks": (np.int32, "1", "number of ranks"),
    "host": ("S64", "", "host of rank 0"),
    "began_utc": ("S32", "", "when it began"),
}
"""Dataset -> dtype, units, long_name; all along `attempt`."""
TABLES = {"train": "step", "segments": "index", "eval": "index", "events": "event"}
"""Group -> the dimension along which it grows while a run goes on."""


def append(file: h5py.File, attempt: Mapping[str, Any]) -> None:
    """Add an attempt, a value for every name of ATTEMPTS, to an open file; make the group."""
    if "attempts" not in file:
        group = file.create_group("attempts")
        add_scale(group, "attempt", np.empty(0, np.int64), grows=True)
        for name, (dtype, units, title) in ATTEMPTS.items():
            column = group.create_dataset(
                name, shape=(0,), maxshape=(None,), chunks=(8,), dtype=dtype
            )
            describe(column, ("attempt",), units, title)
    group = file["attempts"]
    n = len(group["attempt"])
    for name, value in {**attempt, "attempt": n + 1}.items():
        group[name].resize(n + 1, axis=0)
        group[name][n] = value.encode() if isinstance(value, str) else value


def lengths(file: h5py.File) -> dict[str, int]:
    """How long the tables of an open file are that grow while a run goes on."""
    found = {group: len(file[group][dim]) for group, dim in TABLES.items() if group in file}
    return found | {"clock": len(file["clock/sync"])} if "clock" in file else found


def cut(file: h5py.File, kept: Mapping[str, int]) -> None:
    """Take from an open file what its tables have beyond these lengths.

    Errors: ValueError where one of them is shorter.
    """
    for group, dim in TABLES.items():
        if group not in file:
            continue
        length, n = len(file[group][dim]), kept.get(group, 0)
        if length < n:
            raise ValueError(f"/{group} has {length} rows of the {n} that were kept")
        for dataset in file[group].values():
            if dataset.maxshape[0] is None:
                dataset.resize(n, axis=0)
