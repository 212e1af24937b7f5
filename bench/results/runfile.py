"""The writer of a result file: a complete file on disk at every moment, whoever dies."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from algorithms.meter import PHASES
from bench.results.recorder import Block
from bench.results.schema import EVAL, EVALUATED, RUNNING, SCHEMA, TRAIN, VERSION, WARMUP

LEAST_PAUSE = 20
"""A flush waits until this many times the last one's duration has passed: at most 5 % of a run."""
CHUNK_STEPS = 256


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def part_of(path: Path) -> Path:
    """Where a run lives until it is closed."""
    return path.with_name(path.name + ".part")


def replace_whole(path: Path, change: Any, source: Path | None = None) -> None:
    """Put a changed copy of `source` (None: an empty file) in the place of `path`, or nothing.

    change: called with the open h5py.File. The copy is complete and on disk before it is renamed.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if source:
            shutil.copyfile(source, fresh)
        with h5py.File(fresh, "r+" if source else "w") as file:
            change(file)
        with open(fresh, "rb") as file:
            os.fsync(file.fileno())
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


class RunFile:
    """The result file of one run, written by rank 0. Errors: OSError where it cannot be."""

    def __init__(self, path: Path, ranks: int, attributes: Mapping[str, Any]) -> None:
        self.path = path
        self.part = part_of(path)
        self._blocks: list[tuple[Block, NDArray[np.uint8]]] = []
        self._evals: list[dict[str, float]] = []
        self._flushed_at, self._flush_took = time.monotonic(), 0.0

        def create(file: h5py.File) -> None:
            file.attrs.update(
                {"schema": SCHEMA, "schema_version": VERSION, "status": RUNNING}
                | {"created_utc": now(), "closed_utc": "", **attributes}
            )
            _create_train(file, ranks)
            _create_eval(file)

        replace_whole(self.part, create)

    def table(
        self,
        group: str,
        dimensions: Mapping[str, NDArray[Any]],
        columns: Mapping[str, tuple[tuple[str, ...], NDArray[Any], str, str]],
    ) -> None:
        """Add a group of datasets: name -> (dimensions, values, units, long_name)."""

        def add(file: h5py.File) -> None:
            made = file.require_group(group)
            for name, values in dimensions.items():
                _scale(made, name, values)
            for name, (dims, values, units, title) in columns.items():
                dataset = made.create_dataset(name, data=_fixed(values))
                _describe(dataset, dims, units, title)

        replace_whole(self.part, add, self.part)

    def texts(self, texts: Mapping[str, str]) -> None:
        """Add scalar strings under /provenance/text."""

        def add(file: h5py.File) -> None:
            group = file.require_group("provenance/text")
            for name, text in texts.items():
                group.create_dataset(name, data=text)

        replace_whole(self.part, add, self.part)

    def append(self, block: Block, first: int, warmup: int) -> None:
        """Add the steps of a block; the first of them has number `first`, counted from 0."""
        steps = np.arange(first, first + len(block.loss))
        flags = np.where(steps < warmup, WARMUP, 0).astype(np.uint8)
        flags[0] |= EVALUATED
        self._blocks.append((block, flags))

    def evaluate(self, row: Mapping[str, float]) -> None:
        """Add an evaluation: a value for every name of schema.EVAL."""
        self._evals.append(dict(row))

    def flush(self, *, now: bool = False) -> None:
        """Write what was added, unless a flush has just been and `now` is false."""
        if not now and time.monotonic() - self._flushed_at < LEAST_PAUSE * self._flush_took:
            return
        began = time.monotonic()
        replace_whole(self.part, self._write, self.part)
        self._blocks, self._evals = [], []
        self._flushed_at = time.monotonic()
        self._flush_took = self._flushed_at - began

    def close(self, status: str, attributes: Mapping[str, Any]) -> None:
        """Write everything, set the status and the results, and give the file its final name."""

        def finish(file: h5py.File) -> None:
            self._write(file)
            file.attrs.update({**attributes, "status": status, "closed_utc": now()})

        replace_whole(self.part, finish, self.part)
        os.replace(self.part, self.path)

    def _write(self, file: h5py.File) -> None:
        train, evals = file["train"], file["eval"]
        for block, flags in self._blocks:
            n = len(train["step"])
            values = {name: getattr(block, name) for name in TRAIN if name != "flags"}
            values |= {"flags": flags, "step": np.arange(n, n + len(flags))}
            for name, rows in values.items():
                train[name].resize(n + len(flags), axis=0)
                train[name][n:] = rows
        if self._evals:
            n = len(evals["index"])
            columns = {name: [row[name] for row in self._evals] for name in EVAL}
            columns["index"] = list(range(n, n + len(self._evals)))
            for name, column in columns.items():
                evals[name].resize(n + len(column), axis=0)
                evals[name][n:] = column


def mark(path: Path, status: str, message: str) -> None:
    """Set the status of an unfinished file from whichever rank saw the end; nothing if gone."""
    part = part_of(path)
    if part.exists():
        replace_whole(
            part,
            lambda file: file.attrs.update({"status": status, "reason": message}),
            part,
        )


def _create_train(file: h5py.File, ranks: int) -> None:
    group = file.create_group("train")
    _scale(group, "step", np.empty(0, np.int64), grows=True)
    _scale(group, "rank", np.arange(ranks, dtype=np.int32))
    _scale(group, "phase", np.array(PHASES, "S"))
    lengths = {"step": 0, "rank": ranks, "phase": len(PHASES)}
    chunk = {"step": CHUNK_STEPS, "rank": min(64, ranks), "phase": len(PHASES)}
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
        _describe(dataset, dims, units, title)


def _create_eval(file: h5py.File) -> None:
    group = file.create_group("eval")
    _scale(group, "index", np.empty(0, np.int64), grows=True)
    for name, (dtype, units, title) in EVAL.items():
        dataset = group.create_dataset(
            name, shape=(0,), maxshape=(None,), chunks=(64,), dtype=dtype
        )
        _describe(dataset, ("index",), units, title)


def _scale(group: h5py.Group, name: str, values: NDArray[Any], *, grows: bool = False) -> None:
    more = {"maxshape": (None,), "chunks": (CHUNK_STEPS,)} if grows else {}
    dataset = group.create_dataset(name, data=_fixed(values), **more)
    dataset.make_scale(name)
    if dataset.dtype.kind in "iuf":
        dataset.attrs["units"] = "1"


def _describe(dataset: h5py.Dataset, dims: tuple[str, ...], units: str, title: str) -> None:
    for axis, dim in enumerate(dims):
        dataset.dims[axis].attach_scale(dataset.parent[dim])
    dataset.attrs["long_name"] = title
    if units:
        dataset.attrs["units"] = units


def _fixed(values: NDArray[Any]) -> NDArray[Any]:
    """Strings as fixed-length UTF-8 bytes, everything else as it is."""
    return np.char.encode(values, "utf-8") if values.dtype.kind == "U" else values
