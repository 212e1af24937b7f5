"""HDF5 files of samples, x, y, and group if any, of which every rank reads its own rows alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bench.data.checking import require_finite, require_samples, whole_labels
from bench.data.protocol import Table
from bench.runtime.spec import UserError

DENSE = 8
"""A range of rows is read whole where at least one in so many is wanted."""


def read_sets(path: Path) -> dict[str, Table]:
    """The sets of a file, "train" and, with x_test and y_test, "held_out".

    Labels and groups are read, inputs later. Errors: UserError for another file.
    """
    try:
        with h5py.File(path, "r") as file:
            sets = {"train": _table(path, file, "")}
            if "x_test" in file:
                sets["held_out"] = _table(path, file, "_test")
    except OSError as error:
        raise UserError(f"{path} is not an HDF5 file that can be read: {error}") from None
    return sets


def _table(path: Path, file: Any, suffix: str) -> Table:
    for name in ("x", "y"):
        if not isinstance(file.get(name + suffix), h5py.Dataset):
            raise UserError(
                f"{path} has no dataset {name + suffix}: it must hold x (n, ...), y (n,) and, if "
                f"there are groups, group (n,); it holds {', '.join(sorted(file)) or 'nothing'}"
            )
    x, y = file["x" + suffix], file["y" + suffix]
    if x.ndim < 2:
        raise UserError(f"{path}: x{suffix} must be (n, ...), got shape {x.shape}")
    if not np.issubdtype(x.dtype, np.floating) and x.dtype != np.uint8:
        raise UserError(f"{path}: x{suffix} must be floating numbers or bytes, got {x.dtype}")
    labels = whole_labels(path, np.atleast_1d(y[()]))
    require_samples(path, len(x), len(labels))
    groups = None
    if "group" + suffix in file:
        groups = whole_labels(path, np.atleast_1d(file["group" + suffix][()]), "group")
        require_samples(path, len(groups), len(labels))
    return Table(labels, x.shape[1:], Reader(path, "x" + suffix), groups=groups)


class Reader:
    """Rows of a dataset, read when they are asked for; the file is open only meanwhile."""

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name

    def __call__(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        """These rows in this order, (m, ...). Errors: UserError for NaN or infinity in one."""
        wanted, back = np.unique(indices, return_inverse=True)
        try:
            with h5py.File(self._path, "r") as file:
                rows = _rows(file[self._name], wanted)
        except OSError as error:
            raise UserError(f"{self._path} cannot be read: {error}") from None
        require_finite(self._path, rows, wanted)
        found: NDArray[Any] = rows[back]
        return found


def _rows(dataset: Any, wanted: NDArray[np.int64]) -> NDArray[Any]:
    """Ascending rows of a dataset: a block of chunks at a time, whole where it is dense."""
    made = np.empty((len(wanted), *dataset.shape[1:]), dataset.dtype)
    chunk = dataset.chunks[0] if dataset.chunks else 1
    block = max(chunk, 1024 // chunk * chunk)
    ends = np.flatnonzero(np.diff(wanted // block)) + 1
    place = 0
    for rows in np.split(wanted, ends):
        if not len(rows):
            continue
        first, last = int(rows[0]), int(rows[-1]) + 1
        if (last - first) <= DENSE * len(rows):
            part = dataset[first:last][rows - first]
        else:
            part = dataset[rows]
        made[place : place + len(rows)] = part
        place += len(rows)
    return made
