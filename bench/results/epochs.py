"""Group /epochs of a run whose members change: deaths and returns of workers.

/epochs     index: dimension scale; the columns of EPOCHS, one row per death or return, in order
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bench.results import contents
from bench.results.guard import BrokenFileError
from bench.results.resultfile import add_scale, describe

GONE, BACK = b"gone", b"back"
EPOCHS: Mapping[str, tuple[Any, str, str]] = {
    "step": (np.int64, "1", "number of the first step with or without the worker"),
    "worker": (np.int64, "1", "id of the worker"),
    "event": ("S4", "", "gone or back"),
}
"""Dtype, units and long_name of each dataset of /epochs along index."""


@dataclass(frozen=True)
class Event:
    """Row of /epochs."""

    step: int
    worker: int
    event: bytes


def append(file: h5py.File, rows: Sequence[Event]) -> None:
    """Append rows to /epochs of an open file; create the group if needed."""
    if "epochs" not in file:
        group = file.create_group("epochs")
        add_scale(group, "index", np.empty(0, np.int64), grows=True)
        for name, (dtype, units, title) in EPOCHS.items():
            dataset = group.create_dataset(
                name, shape=(0,), maxshape=(None,), chunks=(256,), dtype=dtype
            )
            describe(dataset, ("index",), units, title)
    group = file["epochs"]
    n = len(group["index"])
    columns: dict[str, Any] = {name: [vars(row)[name] for row in rows] for name in EPOCHS}
    columns["index"] = np.arange(n, n + len(rows))
    for name, values in columns.items():
        group[name].resize(n + len(rows), axis=0)
        group[name][n:] = np.array(values, group[name].dtype)


def read(path: Path) -> list[Event]:
    """Return the rows of /epochs of a file, none without any. Errors: BrokenFileError."""
    with contents.open_hdf5(path) as file:
        if not contents.has(file, "epochs"):
            return []
        columns = [contents.column(file, f"epochs/{name}").tolist() for name in EPOCHS]
    if len({len(column) for column in columns}) > 1:
        raise BrokenFileError(f"{path}: the columns of /epochs differ in length")
    return [Event(step, worker, bytes(event)) for step, worker, event in zip(*columns, strict=True)]


def alive(events: Sequence[Event], workers: int) -> NDArray[np.int64]:
    """Return the numbers of workers alive over a run, (changes, 2) int64: first step, workers.

    Deaths and returns before one step are one change. Without any event the array has no rows.
    """
    changes: dict[int, int] = {1: workers} if events else {}
    for row in events:
        workers += -1 if row.event == GONE else 1
        changes[row.step] = workers
    return np.array(list(changes.items()), np.int64).reshape(-1, 2)


def absences(events: Sequence[Event], workers: int, steps: int) -> NDArray[np.int64]:
    """Return the steps, of the first `steps`, in which each worker was gone, (W,) int64."""
    absent = np.zeros(workers, np.int64)
    for row in events:
        absent[row.worker] += (1 if row.event == GONE else -1) * max(0, steps - row.step)
    return absent


def worker_steps(
    events: Sequence[Event], attributes: Mapping[str, Any], steps: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the steps of all workers together in the first steps of a run, (n,) int64."""
    workers = int(attributes["workers"])
    absent = [int(absences(events, workers, step).sum()) for step in steps.tolist()]
    return steps * workers - np.array(absent, np.int64)


def results(events: Sequence[Event], workers: int, steps: int) -> dict[str, Any]:
    """Return the attributes that follow from the events of a run: its columns in a report."""
    deaths = sum(row.event == GONE for row in events)
    share = absences(events, workers, steps).sum() / max(1, workers * steps)
    return {"deaths": deaths, "returns": len(events) - deaths, "participation": 1 - float(share)}


def columns(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a report from the attributes of a file; nobody dies without churn."""
    return {
        "deaths": int(attributes.get("deaths", 0)),
        "returns": int(attributes.get("returns", 0)),
        "participation": participation(attributes),
    }


def participation(attributes: Mapping[str, Any]) -> float:
    """Return the share of the workers alive, mean over steps, from the attributes of a file."""
    return float(attributes.get("participation", 1.0))


def layout(file: h5py.File) -> dict[str, dict[str, tuple[tuple[str, ...], Any, str]]]:
    """Return dimensions, dtype and units of the datasets of /epochs, if an open file has it."""
    if "epochs" not in file:
        return {}
    table: dict[str, tuple[tuple[str, ...], Any, str]]
    table = {name: (("index",), dtype, units) for name, (dtype, units, _) in EPOCHS.items()}
    return {"epochs": table}


def flaws(path: Path, attributes: Mapping[str, Any], steps: int) -> Iterator[str]:
    """Yield the mismatches between the rows of /epochs and the attributes of a file, if any."""
    events, workers = read(path), int(attributes["workers"])
    absent = np.zeros(workers, bool)
    for i, row in enumerate(events):
        if not 0 <= row.worker < workers or row.event not in (GONE, BACK):
            yield f"epochs row {i} is not about a worker that is gone or back"
            return
        if absent[row.worker] == (row.event == GONE):
            yield f"epochs row {i}: worker {row.worker} is {row.event.decode()} twice"
            return
        absent[row.worker] = row.event == GONE
    at = [row.step for row in events]
    if at != sorted(at) or (at and not 0 <= at[0] <= at[-1] <= steps):
        yield "epochs/step is not ascending within the steps of the run"
        return
    stored = {name: attributes[name] for name in results([], 1, 1) if name in attributes}
    expected = results(events, workers, steps)
    for name, value in stored.items():
        if not np.isclose(value, expected[name]):
            yield f"attribute {name} is {value}, /epochs has {expected[name]}"
