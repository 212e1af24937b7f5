"""The result file of bench.collectives: rows and calls, appended a size at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bench.results.calls import PROGRAM, ROWS, Calls
from bench.results.resultfile import Change, ResultFile, add_scale, add_table, describe, fixed

CALLS = {
    "start_ns": (("call", "rank"), "start of the call, clock of the rank"),
    "duration_ns": (("call", "rank"), "duration of the call on the rank"),
    "row": (("call",), "row of the call"),
}
"""Dataset of /calls -> dimensions, long_name."""
CHUNK = 1024
"""Calls of a chunk."""


class CallsFile(ResultFile):
    """The result file of bench.collectives, written by rank 0. Errors: DiskError."""

    holds = ("rows/row", "rows")

    def __init__(
        self,
        path: Path,
        attributes: Mapping[str, Any],
        offset_ns: NDArray[np.int64],
        round_trip_ns: NDArray[np.int64],
        material: Change = lambda file: None,
    ) -> None:
        ranks = len(offset_ns)

        def create(file: h5py.File) -> None:
            _create(file, ranks)
            columns = {
                "offset_ns": (("rank",), offset_ns, "ns", "lead of the clock over rank 0's"),
                "round_trip_ns": (("rank",), round_trip_ns, "ns", "of the reading; 0: one clock"),
            }
            add_table(file, "clock", {"rank": np.arange(ranks)}, columns)
            material(file)

        super().__init__(path, {"program": PROGRAM, **attributes}, create)

    def append(self, calls: Calls) -> None:
        """Add the rows and calls of `calls`; they are on disk afterwards."""
        self.change(lambda file: _append(file, calls))


def _create(file: h5py.File, ranks: int) -> None:
    rows, calls = file.create_group("rows"), file.create_group("calls")
    add_scale(rows, "row", np.empty(0, np.int64), grows=True)
    for name, (dtype, units, title) in ROWS.items():
        made = rows.create_dataset(name, shape=(0,), maxshape=(None,), chunks=(64,), dtype=dtype)
        describe(made, ("row",), units, title)
    add_scale(calls, "call", np.empty(0, np.int64), grows=True)
    add_scale(calls, "rank", np.arange(ranks, dtype=np.int32))
    lengths, chunk = {"call": 0, "rank": ranks}, {"call": CHUNK, "rank": min(64, ranks)}
    for name, (dims, title) in CALLS.items():
        made = calls.create_dataset(
            name,
            shape=tuple(lengths[dim] for dim in dims),
            maxshape=tuple(None if dim == "call" else ranks for dim in dims),
            chunks=tuple(chunk[dim] for dim in dims),
            dtype=np.int64,
            shuffle=True,
            compression="gzip",
            compression_opts=1,
        )
        describe(made, dims, "ns" if name.endswith("_ns") else "1", title)


def _append(file: h5py.File, calls: Calls) -> None:
    rows, n_rows, n_calls = file["rows"], len(file["rows/row"]), len(file["calls/call"])
    added = len(calls.table["n"])
    columns = calls.table | {"first": calls.table["first"] + n_calls}
    columns["row"] = np.arange(n_rows, n_rows + added)
    spread = {"start_ns": calls.start_ns, "duration_ns": calls.duration_ns}
    spread["row"] = np.repeat(columns["row"], calls.table["n"])
    spread["call"] = np.arange(n_calls, n_calls + len(calls.start_ns))
    for group, values, before in ((rows, columns, n_rows), (file["calls"], spread, n_calls)):
        for name, new in values.items():
            group[name].resize(before + len(new), axis=0)
            group[name][before:] = fixed(new)
