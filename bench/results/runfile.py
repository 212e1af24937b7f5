"""Writer of the result file of a training run."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from algorithms.wire.meter import PHASES
from bench.results import decisions, epochs, events, lost
from bench.results.claims import Claim
from bench.results.recorder import Block
from bench.results.resultfile import CHUNK, Change, ResultFile, add_scale, describe, part_of
from bench.results.resultfile import now as now_utc
from bench.results.schema import (
    EVAL,
    EVAL_SINCE,
    EVALUATED,
    SEGMENTS,
    TRAIN,
    WARMUP,
    Table,
    eval_options,
)

GROWING = {
    "train": "step",
    "segments": "index",
    "eval": "index",
    "events": "event",
    "decisions": "index",
    "epochs": "index",
}
"""Dimension along which each group grows during a run."""
FINAL = ("workers", "pipeline", "summary")
"""Groups that are added when a run ends."""


def table_lengths(file: h5py.File) -> dict[str, int]:
    """Return the lengths of the growing tables of an open file."""
    lengths = {group: len(file[group][dim]) for group, dim in GROWING.items() if group in file}
    return lengths | {"clock": len(file["clock/sync"])} if "clock" in file else lengths


def cut_tables(file: h5py.File, lengths: Mapping[str, int]) -> None:
    """Truncate the growing tables of an open file to the given lengths, and delete the final ones.

    A run may continue after its file is complete: a rank may die before it learns of that. Errors:
    ValueError if a table is shorter.
    """
    for group in FINAL:
        if group in file:
            del file[group]
    for group, dim in GROWING.items():
        if group not in file:
            continue
        length, n = len(file[group][dim]), lengths.get(group, 0)
        if length < n:
            raise ValueError(f"/{group} has {length} rows, its checkpoint was written after {n}")
        for dataset in file[group].values():
            if dataset.maxshape[0] is None:
                dataset.resize(n, axis=0)


LEAST_PAUSE_S = 1.0
"""Minimum interval between flushes, so that short steps do not wait for the disk."""
MOST_PAUSE_S = 5.0
"""Interval after which rows are flushed at the next end of a segment."""


class RunFile(ResultFile):
    """Result file of one training run, written by one rank. Errors: DiskError.

    ranks: ranks with steps in the file. material: adds the data available before the first step.
    lengths: lengths of the growing tables at the checkpoint of a resumed run. source: the
    file that it continues, by default the one of that name. claim: of ResultFile. phases: of steps.
    """

    growth = ("train/step", "steps")

    def __init__(
        self,
        path: Path,
        ranks: Sequence[int],
        attributes: Mapping[str, Any],
        material: Change = lambda file: None,
        lengths: Mapping[str, int] | None = None,
        source: Path | None = None,
        claim: Claim | None = None,
        phases: Sequence[str] = PHASES,
    ) -> None:
        self._blocks: list[tuple[Block, NDArray[np.uint8]]] = []
        self._segments: list[tuple[int, int]] = []
        self._events: list[events.Columns] = []
        self._rows = lengths.get("train", 0) if lengths else 0
        self._evals: list[dict[str, float]] = []
        self._decisions: list[decisions.Decided] = []
        self._epochs: list[epochs.Event] = []
        self._lost: tuple[Sequence[lost.Death], Sequence[lost.Homes]] | None = None
        self._flushed_at = -math.inf

        def create(file: h5py.File) -> None:
            if lengths:
                cut_tables(file, lengths)
            else:
                create_train(file, ranks, phases)
                _create_table(file, "segments", SEGMENTS)
                _create_table(file, "eval", {**EVAL, **eval_options(attributes)})
            add_since(file)
            material(file)

        before = (source or part_of(path)) if lengths else None
        super().__init__(path, attributes, create, claim, source=before)

    def append(self, block: Block, first: int, warmup: int) -> None:
        """Append the steps of a block; first: number of its first step, counted from 0."""
        steps = np.arange(first, first + len(block.loss))
        flags = np.where(steps < warmup, WARMUP, 0).astype(np.uint8)
        flags[:1] |= EVALUATED
        self._blocks.append((block, flags))
        self._segments.append((first, len(steps)))
        self._rows += len(steps)

    def trace(self, tables: Sequence[events.Columns]) -> None:
        """Append the events of the last block; their steps count from the block's first."""
        at = self._rows - self._segments[-1][1]
        self._events += [columns | {"step": columns["step"] + at} for columns in tables]

    def evaluate(self, row: Mapping[str, float]) -> None:
        """Add an evaluation: a value for every dataset of /eval, see bench.results.schema."""
        self._evals.append({**dict.fromkeys(EVAL_SINCE, -1), **row})

    def decide(self, decision: decisions.Decided) -> None:
        """Add a decision of the controller and its segment."""
        self._decisions.append(decision)

    def member(self, event: epochs.Event) -> None:
        """Add a death or a return of a worker."""
        self._epochs.append(event)

    def lose(self, deaths: Sequence[lost.Death], homes: Sequence[lost.Homes]) -> None:
        """Replace the deaths of ranks of this launch, and the homes of workers after them."""
        self._lost = deaths, homes

    def flush(self, *, now: bool = False, due: bool = True) -> None:
        """Write the buffered data; without `now` after a pause; due: the shorter one is enough."""
        pause = 0.0 if now else LEAST_PAUSE_S if due else MOST_PAUSE_S
        if time.monotonic() - self._flushed_at >= pause:
            self.change(self._write)
            self._flushed_at = time.monotonic()

    def lengths(self) -> dict[str, int]:
        """Write the buffered data; return the lengths of the growing tables."""
        self.flush(now=True)
        return table_lengths(self._file)

    def suspend(self, status: str, reason: str) -> None:
        """Write the buffered data, the status and its reason; keep the name NAME.h5.part."""
        self.flush(now=True)
        change = {"status": status, "reason": reason, "closed_utc": now_utc()}
        self.change(lambda file: file.attrs.update(change))
        self._end()

    def _write(self, file: h5py.File) -> None:
        train, evals = file["train"], file["eval"]
        for block, flags in self._blocks:
            n = len(train["step"])
            values = {name: getattr(block, name) for name in TRAIN if name != "flags"}
            values |= {"flags": flags, "step": np.arange(n, n + len(flags))}
            for name, rows in values.items():
                train[name].resize(n + len(flags), axis=0)
                train[name][n:] = rows
        if self._segments:
            first, steps = zip(*self._segments, strict=True)
            append_rows(file["segments"], {"first": first, "steps": steps})
        for columns in self._events:
            events.append(file, columns)
        if self._evals:
            names = [name for name in evals if name != "index"]
            append_rows(evals, {name: [row[name] for row in self._evals] for name in names})
        if self._decisions:
            decisions.append(file, self._decisions)
        if self._epochs:
            epochs.append(file, self._epochs)
        if self._lost:
            lost.write(file, *self._lost)
        # The open file has them, and writes them at the next change if the disk refuses this one.
        self._blocks, self._segments, self._events = [], [], []
        self._evals, self._decisions, self._epochs, self._lost = [], [], [], None


def append_rows(group: h5py.Group, columns: Mapping[str, Sequence[float] | NDArray[Any]]) -> None:
    """Append rows to a table along `index`."""
    n = len(group["index"])
    rows = len(next(iter(columns.values())))
    for name, column in {**columns, "index": range(n, n + rows)}.items():
        group[name].resize(n + rows, axis=0)
        group[name][n:] = column


def create_train(file: h5py.File, ranks: Sequence[int], phases: Sequence[str] = PHASES) -> None:
    """Create an empty /train for the given ranks and phases."""
    group = file.create_group("train")
    add_scale(group, "step", np.empty(0, np.int64), grows=True)
    add_scale(group, "rank", np.array(ranks, dtype=np.int32))
    add_scale(group, "phase", np.array(phases, "S"))
    lengths = {"step": 0, "rank": len(ranks), "phase": len(phases)}
    chunk = {"step": CHUNK, "rank": min(64, len(ranks)), "phase": len(phases)}
    for name, (dims, dtype, units, title) in TRAIN.items():
        dataset = group.create_dataset(
            name,
            shape=tuple(lengths[dim] for dim in dims),
            maxshape=tuple(None if dim == "step" else lengths[dim] for dim in dims),
            chunks=tuple(chunk[dim] for dim in dims),
            dtype=dtype,
            shuffle=True,
            compression="gzip",
            compression_opts=1,
        )
        describe(dataset, dims, units, title)


def _create_table(file: h5py.File, name: str, columns: Table) -> None:
    group = file.create_group(name)
    add_scale(group, "index", np.empty(0, np.int64), grows=True)
    _add_columns(group, columns)


def add_since(file: h5py.File) -> None:
    """Add the datasets of EVAL_SINCE to /eval of a file of an earlier version, as unknown."""
    if "since" not in file["eval"]:
        _add_columns(file["eval"], EVAL_SINCE)


def _add_columns(group: h5py.Group, columns: Table) -> None:
    n = len(group["index"])
    for column, (dtype, units, title) in columns.items():
        dataset = group.create_dataset(
            column, shape=(n,), maxshape=(None,), chunks=(64,), dtype=dtype, fillvalue=-1
        )
        describe(dataset, ("index",), units, title)


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
