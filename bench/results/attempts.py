"""Group /attempts: the start of a run and of each continuation from a checkpoint."""

from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from bench.results.resultfile import add_scale, describe

ATTEMPTS = {
    "row": (np.int64, "1", "first row of the attempt in /train"),
    "step": (np.int64, "1", "number of steps before the attempt"),
    "sync": (np.int64, "1", "first reading of the attempt in /clock"),
    "ranks": (np.int32, "1", "number of ranks"),
    "host": ("S64", "", "host of rank 0"),
    "began_utc": ("S32", "", "start of the attempt"),
}
"""Dtype, units and long_name of each dataset of /attempts; all are along `attempt`."""


def append_attempt(file: h5py.File, attempt: Mapping[str, Any]) -> None:
    """Append an attempt to /attempts: a value for every name of ATTEMPTS."""
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
