"""/clock of a training file: the clocks of all ranks, read at the start and at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bench.results.resultfile import add_scale, describe

CLOCK = {
    "read_ns": "when the rank's clock was read, on that clock",
    "offset_ns": "lead of the clock over rank 0's",
    "round_trip_ns": "of the message it was read by; 0: one clock",
}
"""Dataset -> long_name; (sync, rank), ns."""


def append(file: h5py.File, reading: Mapping[str, NDArray[Any]]) -> None:
    """Add a reading, a value a rank for every name of CLOCK, to an open file; make the group."""
    ranks = len(reading["read_ns"])
    if "clock" not in file:
        group = file.create_group("clock")
        add_scale(group, "sync", np.empty(0, np.int64), grows=True)
        add_scale(group, "rank", np.arange(ranks, dtype=np.int32))
        for name, title in CLOCK.items():
            dataset = group.create_dataset(
                name, shape=(0, ranks), maxshape=(None, ranks), chunks=(2, ranks), dtype=np.int64
            )
            describe(dataset, ("sync", "rank"), "ns", title)
    group = file["clock"]
    n = len(group["sync"])
    for name, row in {**reading, "sync": n}.items():
        group[name].resize(n + 1, axis=0)
        group[name][n] = row
