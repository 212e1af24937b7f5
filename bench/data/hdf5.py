"""HDF5 files of samples, x, y and optionally group: every rank reads its own rows only."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bench.common.spec import UserError
from bench.data.checking import (
    as_labels,
    dtype_name,
    require_finite,
    require_memory,
    require_samples,
)
from bench.data.protocol import Table

DENSE = 8
"""A range of rows is read in one piece if at least one in DENSE is requested."""
BLOCK = 2**23
UNREADABLE = (OSError, RuntimeError)
"""Errors of h5py for files that are not HDF5, or damaged."""


def read_sets(path: Path) -> tuple[dict[str, Table], list[str]]:
    """Return the sets of a file, "train" and perhaps "held_out", and the names of the groups.

    The held-out set is x_test and y_test. Labels and groups are read here, inputs later, on
    request. Errors: UserError for another file.
    """
    try:
        with _open(path) as file:
            sets = {"train": ""}
            if {"x_test", "y_test", "group_test"} & set(file):
                sets["held_out"] = "_test"
            owners = {
                kind: _column(path, file, f"group{suffix}")
                for kind, suffix in sets.items()
                if f"group{suffix}" in file
            }
            every = np.concatenate(list(owners.values())) if owners else np.empty(0, np.int64)
            names, places = np.unique(every, return_inverse=True)
            stops = np.cumsum([len(x) for x in owners.values()])[:-1]
            groups = dict(zip(owners, np.split(places, stops), strict=True)) if owners else {}
            tables = {
                kind: _table(path, file, suffix, groups.get(kind)) for kind, suffix in sets.items()
            }
    except UNREADABLE as error:
        raise UserError(f"{path} cannot be read as HDF5: {_line(error)}") from None
    return tables, [str(name) for name in names.tolist()]


def _open(path: Path) -> Any:
    """Open the file to read; locks are skipped on a file system without them."""
    return h5py.File(path, "r", locking="best-effort")


def _line(error: BaseException) -> str:
    """Return an error message as one line."""
    return " ".join(str(error).split())


def _dataset(path: Path, file: Any, name: str) -> Any:
    """Return a dataset of the file. Errors: UserError if it is missing."""
    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset):
        raise UserError(
            f"{path} has no dataset {name}: it must hold x (n, ...), y (n,) and, if there are "
            "groups, group (n,), those held out as x_test, y_test, group_test; it holds "
            f"{', '.join(sorted(file)) or 'nothing'}"
        )
    return dataset


def _column(path: Path, file: Any, name: str) -> NDArray[Any]:
    """Read groups, (n,), whole numbers or texts."""
    dataset = _dataset(path, file, name)
    if h5py.check_string_dtype(dataset.dtype) is not None:
        values: NDArray[Any] = np.atleast_1d(dataset.asstr()[()]).astype(str)
    else:
        values = np.atleast_1d(dataset[()])
    if values.ndim != 1 or values.dtype.kind not in "iuU":
        raise UserError(
            f"{path}: {name} must be (n,) whole numbers or texts, got {dtype_name(dataset.dtype)} "
            f"{dataset.shape}"
        )
    return values


def _table(path: Path, file: Any, suffix: str, groups: NDArray[np.int64] | None) -> Table:
    """Return the table of a set, with labels in memory and inputs to be read. Errors: UserError."""
    x, y = (_dataset(path, file, name + suffix) for name in ("x", "y"))
    if x.ndim < 2 or not math.prod(x.shape[1:]):
        raise UserError(
            f"{path}: x{suffix} must be (n, features), (n, height, width), (n, channels, height, "
            f"width) or of more dimensions, got shape {x.shape}"
        )
    if x.dtype.kind != "f" and x.dtype != np.uint8:
        raise UserError(
            f"{path}: x{suffix} must be floating numbers or bytes, got {dtype_name(x.dtype)}"
        )
    labels = as_labels(f"{path}, y{suffix}", np.asarray(y[()]))
    require_samples(f"{path}, x{suffix}", len(x), len(labels))
    if groups is not None and len(groups) != len(labels):
        raise UserError(
            f"{path}: group{suffix} has {len(groups):,} samples, y{suffix} {len(labels):,}: they "
            "must agree"
        )
    return Table(labels, x.shape[1:], Reader(path, f"x{suffix}"), groups=groups)


class Reader:
    """Reader of rows of a dataset, which opens the file for each request.

    block: number of bytes to read at once, or one chunk if that is larger.
    """

    def __init__(self, path: Path, name: str, block: int = BLOCK) -> None:
        self._path, self._name, self._block = path, name, block

    def __call__(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        """Read these rows in this order, (m, ...).

        Errors: UserError for NaN or infinity in one of them, and if memory cannot hold them.
        """
        distinct, back = np.unique(indices, return_inverse=True)
        try:
            with _open(self._path) as file:
                dataset = file[self._name]
                require_memory(self._path, len(indices) * _row_bytes(dataset))
                rows = _rows(dataset, distinct, self._block)
        except (*UNREADABLE, KeyError) as error:
            raise UserError(f"{self._path} cannot be read: {_line(error)}") from None
        require_finite(f"{self._path}, {self._name}", rows, distinct)
        if np.array_equal(distinct, indices):
            return rows
        ordered: NDArray[Any] = rows[back]
        return ordered


def _row_bytes(dataset: Any) -> int:
    """Return the number of bytes of a row."""
    return max(1, int(dataset.dtype.itemsize * math.prod(dataset.shape[1:])))


def _rows(dataset: Any, indices: NDArray[np.int64], nbytes: int) -> NDArray[Any]:
    """Read ascending rows of a dataset: whole chunks at a time, and dense ranges in one piece."""
    result = np.empty((len(indices), *dataset.shape[1:]), dataset.dtype)
    chunk = dataset.chunks[0] if dataset.chunks else 1
    block = max(chunk, nbytes // _row_bytes(dataset) // chunk * chunk)
    starts = np.flatnonzero(np.diff(indices // block, prepend=-1))
    for start, stop in pairwise([*starts.tolist(), len(indices)]):
        rows = indices[start:stop]
        first, last = int(rows[0]), int(rows[-1]) + 1
        if last - first == len(rows):
            dataset.read_direct(result, np.s_[first:last], np.s_[start:stop])
        elif last - first <= DENSE * len(rows):
            result[start:stop] = dataset[first:last][rows - first]
        else:
            result[start:stop] = dataset[rows]
    return result
