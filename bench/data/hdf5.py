"""HDF5 files of samples, x, y, and group if any, of which every rank reads its own rows alone."""

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
    kind_of,
    require_finite,
    require_memory,
    require_samples,
    whole_labels,
)
from bench.data.protocol import Table

DENSE = 8
"""A range of rows is read whole where at least one in so many is wanted."""
BLOCK = 2**23
UNREADABLE = (OSError, RuntimeError)
"""What h5py raises for files that are none, or damaged."""


def read_sets(path: Path) -> tuple[dict[str, Table], list[str]]:
    """The sets of a file, "train" and, with x_test and y_test, "held_out"; names of the groups.

    Labels and groups are read, inputs later. Errors: UserError for another file.
    """
    try:
        with _opened(path) as file:
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


def _opened(path: Path) -> Any:
    """The file to read; locks are left out where a file system has none."""
    return h5py.File(path, "r", locking="best-effort")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _dataset(path: Path, file: Any, name: str) -> Any:
    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        raise UserError(
            f"{path} has no dataset {name}: it must hold x (n, ...), y (n,) and, if there are "
            "groups, group (n,), those held out as x_test, y_test, group_test; it holds "
            f"{', '.join(sorted(file)) or 'nothing'}"
        )
    return found


def _column(path: Path, file: Any, name: str) -> NDArray[Any]:
    """Groups, (n,), whole numbers or texts."""
    dataset = _dataset(path, file, name)
    if h5py.check_string_dtype(dataset.dtype) is not None:
        values: NDArray[Any] = np.atleast_1d(dataset.asstr()[()]).astype(str)
    else:
        values = np.atleast_1d(dataset[()])
    if values.ndim != 1 or values.dtype.kind not in "iuU":
        raise UserError(
            f"{path}: {name} must be (n,) whole numbers or texts, got {kind_of(dataset.dtype)} "
            f"{dataset.shape}"
        )
    return values


def _table(path: Path, file: Any, suffix: str, groups: NDArray[np.int64] | None) -> Table:
    x, y = (_dataset(path, file, name + suffix) for name in ("x", "y"))
    if x.ndim < 2 or not math.prod(x.shape[1:]):
        raise UserError(
            f"{path}: x{suffix} must be (n, features), (n, height, width), (n, channels, height, "
            f"width) or of more dimensions, got shape {x.shape}"
        )
    if x.dtype.kind != "f" and x.dtype != np.uint8:
        raise UserError(
            f"{path}: x{suffix} must be floating numbers or bytes, got {kind_of(x.dtype)}"
        )
    labels = whole_labels(f"{path}, y{suffix}", np.asarray(y[()]))
    require_samples(f"{path}, x{suffix}", len(x), len(labels))
    if groups is not None and len(groups) != len(labels):
        raise UserError(
            f"{path}: group{suffix} has {len(groups):,} samples, y{suffix} {len(labels):,}: they "
            "must agree"
        )
    return Table(labels, x.shape[1:], Reader(path, f"x{suffix}"), groups=groups)


class Reader:
    """Rows of a dataset, read when they are asked for; the file is open only meanwhile.

    block: bytes that are read at once, or one chunk where that is larger.
    """

    def __init__(self, path: Path, name: str, block: int = BLOCK) -> None:
        self._path, self._name, self._block = path, name, block

    def __call__(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        """These rows in this order, (m, ...).

        Errors: UserError for NaN or infinity in one, and where memory cannot hold them.
        """
        wanted, back = np.unique(indices, return_inverse=True)
        try:
            with _opened(self._path) as file:
                dataset = file[self._name]
                require_memory(self._path, len(indices) * _row_bytes(dataset))
                rows = _rows(dataset, wanted, self._block)
        except (*UNREADABLE, KeyError) as error:
            raise UserError(f"{self._path} cannot be read: {_line(error)}") from None
        require_finite(f"{self._path}, {self._name}", rows, wanted)
        if np.array_equal(wanted, indices):
            return rows
        found: NDArray[Any] = rows[back]
        return found


def _row_bytes(dataset: Any) -> int:
    return max(1, int(dataset.dtype.itemsize * math.prod(dataset.shape[1:])))


def _rows(dataset: Any, wanted: NDArray[np.int64], nbytes: int) -> NDArray[Any]:
    """Ascending rows of a dataset: whole chunks at a time, a range at once where it is dense."""
    made = np.empty((len(wanted), *dataset.shape[1:]), dataset.dtype)
    chunk = dataset.chunks[0] if dataset.chunks else 1
    block = max(chunk, nbytes // _row_bytes(dataset) // chunk * chunk)
    starts = np.flatnonzero(np.diff(wanted // block, prepend=-1))
    for start, stop in pairwise([*starts.tolist(), len(wanted)]):
        rows = wanted[start:stop]
        first, last = int(rows[0]), int(rows[-1]) + 1
        if last - first == len(rows):
            dataset.read_direct(made, np.s_[first:last], np.s_[start:stop])
        elif last - first <= DENSE * len(rows):
            made[start:stop] = dataset[first:last][rows - first]
        else:
            made[start:stop] = dataset[rows]
    return made
