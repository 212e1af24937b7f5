"""Group /events of a run with --trace: single phases and messages, for bench.trace.

    /events  event: dimension scale; the columns of EVENTS; the events of a rank are in the order
             of their ends

A phase begins at the end of the previous one, so the phases of a step fill it. `start_ns` of a
sent message is the begin of the MPI call, and of a received message the time of its completion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import h5py
import numpy as np
from numpy.typing import NDArray

from bench.results import contents
from bench.results.guard import BrokenFileError
from bench.results.resultfile import add_scale, describe

if TYPE_CHECKING:
    from algorithms.wire.meter import Event

Columns: TypeAlias = dict[str, NDArray[Any]]
"""Columns of events, (n,) each, by the names of EVENTS."""

EVENTS = {
    "rank": (np.int32, "1", "rank of the event"),
    "step": (np.int64, "1", "row of /train"),
    "kind": (
        *(np.uint8, "1"),
        "0 to 5: phase, index in /train/phase; 6: sent; 7: received; 8: forward "
        "pass, 9: backward pass, 10: gradients of parameters, 11: bubble",
    ),
    "start_ns": (np.int64, "ns", "start, clock of the rank"),
    "duration_ns": (np.int64, "ns", "duration; 0 for a received message"),
    "bytes": (np.int64, "B", "size of the message; 0 for a phase"),
    "peer": (np.int32, "1", "rank at the other end of the message; -1: none or unknown"),
    "number": (
        *(np.int64, "1"),
        "number of the message, the same at both ends; -1: no other end",
    ),
}
"""Dtype, units and long_name of each dataset of /events."""
CHUNK = 4096
"""Number of events per chunk."""


def pack(events: Sequence[Event], rank: int) -> Columns:
    """Return the events of TracingMeter.take as columns; steps count from the meter's first.

    Events outside of a step are dropped.
    """
    table = np.array(events, np.int64).reshape(-1, len(EVENTS) - 1)
    table = table[table[:, 0] >= 0]
    names = [name for name in EVENTS if name != "rank"]
    columns = {"rank": np.full(len(table), rank)} | dict(zip(names, table.T, strict=True))
    return {name: columns[name].astype(EVENTS[name][0]) for name in EVENTS}


def append(file: h5py.File, columns: Mapping[str, NDArray[Any]]) -> None:
    """Append events to /events of an open file; create the group if needed."""
    if "events" not in file:
        _create(file)
    group = file["events"]
    n, added = len(group["event"]), len(columns["rank"])
    for name, values in {**columns, "event": np.arange(n, n + added)}.items():
        group[name].resize(n + added, axis=0)
        group[name][n:] = values


def _create(file: h5py.File) -> None:
    group = file.create_group("events")
    add_scale(group, "event", np.empty(0, np.int64), grows=True)
    for name, (dtype, units, title) in EVENTS.items():
        dataset = group.create_dataset(
            name,
            shape=(0,),
            maxshape=(None,),
            chunks=(CHUNK,),
            dtype=dtype,
            shuffle=True,
            compression="gzip",
            compression_opts=1,
        )
        describe(dataset, ("event",), units, title)


def read(
    path: Path, ranks: NDArray[np.int64] | None = None, steps: NDArray[np.int64] | None = None
) -> Columns:
    """Return the events of the given ranks and steps; None selects all.

    Errors: BrokenFileError.
    """
    with contents.open_hdf5(path) as file:
        if not contents.has(file, "events"):
            return {name: np.empty(0, dtype) for name, (dtype, *_) in EVENTS.items()}
        mask: NDArray[np.bool_] | None = None
        for name, selection in (("rank", ranks), ("step", steps)):
            if selection is not None:
                these = np.isin(contents.column(file, f"events/{name}"), selection)
                mask = these if mask is None else mask & these
        columns = {
            name: _column(file, name, mask).astype(dtype) for name, (dtype, *_) in EVENTS.items()
        }
        if len({len(column) for column in columns.values()}) > 1:
            raise BrokenFileError(f"{path}: the columns of /events differ in length")
    return columns


def _column(file: Any, name: str, mask: NDArray[np.bool_] | None) -> NDArray[Any]:
    values = contents.column(file, f"events/{name}")
    if mask is None:
        return values
    if values.shape != mask.shape:
        raise ValueError(
            f"events/{name} has the shape {values.shape}, events/rank has {mask.shape}"
        )
    selection: NDArray[Any] = values[mask]
    return selection


@dataclass(frozen=True)
class Segments:
    """Segments of consecutive steps."""

    first: NDArray[np.int64]
    """(n,) number of the first step of each segment."""
    rows: NDArray[np.int64]
    """(n,) number of rows of /train of each segment."""

    def rows_before(self, steps: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of rows of /train before each step number in `steps`, (n,) int64.

        Both numbers differ if ranks take steps at their own pace. Without segments in the file
        every step is one row.
        """
        if not len(self.first):
            return steps
        ends: NDArray[np.int64] = np.concatenate([[0], self.rows.cumsum()])
        return ends[np.searchsorted(self.first, steps)]


def read_segments(path: Path) -> Segments:
    """Return the segments of a training file; empty before version 1.3."""
    with contents.open_hdf5(path) as file:
        if not contents.has(file, "segments"):
            return Segments(np.empty(0, np.int64), np.empty(0, np.int64))
        first, rows = (contents.column(file, f"segments/{x}") for x in ("first", "steps"))
    if first.shape != rows.shape:
        raise BrokenFileError(f"{path}: the columns of /segments differ in length")
    return Segments(first, rows)
