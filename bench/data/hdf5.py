"""HDF5 files of inputs, labels and optionally groups: every rank reads its own rows only."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bench.common.spec import UserError
from bench.data.checking import (
    as_inputs,
    as_labels,
    dtype_name,
    require_finite,
    require_memory,
    require_samples,
)
from bench.data.labels import labels_of, number_texts
from bench.data.protocol import Content, Table

DENSE = 8
"""A range of rows is read in one piece if at least one in DENSE is requested."""
BLOCK = 2**23
UNREADABLE = (OSError, RuntimeError)
"""Errors of h5py for files that are not HDF5, or damaged."""


NAMES = {
    "x": ["x", "data", "images", "image", "features", "feature", "inputs", "input", "samples"],
    "y": ["y", "label", "labels", "target", "targets", "class", "classes"],
    "group": ["group", "groups"],
}
"""Names of the datasets of a set, in any case."""
PARTS = {
    "train": ["train", "training"],
    "held_out": ["test", "testing"],
    "validation": ["val", "valid", "validation", "dev"],
}
"""Words of a set, before or behind a name, or of a group of HDF5: test_x, x_test, test/x."""
EXACT = {f"{kind}{suffix}" for kind in NAMES for suffix in ("", "_test")}
FORM = (
    "it must hold x (n, ...), y (n,) and, if there are groups, group (n,), those held out as "
    "x_test, y_test, group_test"
)


def read_sets(path: Path) -> Content:
    """Return the sets of a file, "train" and perhaps "held_out".

    Labels and groups are read here, inputs later, on request. Errors: UserError for another file.
    """
    try:
        with _open(path) as file:
            places, unread = _places(path, file)
            owners = {
                kind: _column(path, file, names["group"])
                for kind, names in places.items()
                if "group" in names
            }
            every = np.concatenate(list(owners.values())) if owners else np.empty(0, np.int64)
            names, numbers = np.unique(every, return_inverse=True)
            stops = np.cumsum([len(x) for x in owners.values()])[:-1]
            groups = dict(zip(owners, np.split(numbers, stops), strict=True)) if owners else {}
            labels = {kind: _labels(path, file, names["y"]) for kind, names in places.items()}
            coded, classes = number_texts(list(labels.values()))
            tables = {
                kind: _table(path, file, names, y, groups.get(kind))
                for (kind, names), y in zip(places.items(), coded, strict=True)
            }
    except (*UNREADABLE, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as HDF5: {_line(error)}") from None
    used = [name for names in places.values() for name in names.values()]
    layout = f", from {', '.join(used)}" if {*used} - EXACT else ""
    if unread:
        layout += f", {', '.join(unread)} not read"
    return Content(tables, classes, [str(name) for name in names.tolist()], layout)


def _places(path: Path, file: Any) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Return the name of the dataset of each role, x, y and group, of each set.

    Also the datasets of "validation", which serves as "held_out" only where there is no other.
    Errors: UserError.
    """
    matches: dict[str, dict[str, list[str]]] = {}
    for name in _datasets(file):
        role = _role(name)
        if role:
            part, kind = role
            matches.setdefault(part, {}).setdefault(kind, []).append(name)
    matches.setdefault("train", {})
    validation = matches.pop("validation", {})
    if validation and "held_out" not in matches:
        matches["held_out"], validation = validation, {}
    listed = ", ".join(_datasets(file)) or "nothing"
    places: dict[str, dict[str, str]] = {}
    for part, suffix in (("train", ""), ("held_out", "_test")):
        names = matches.get(part)
        if names is None:
            continue
        for kind in ("x", "y"):
            if kind not in names:
                raise UserError(f"{path} has no dataset {kind}{suffix}: {FORM}; it holds {listed}")
        places[part] = {kind: _choose(path, kind + suffix, x) for kind, x in names.items()}
    return places, [name for names in validation.values() for name in names]


def _datasets(file: Any) -> list[str]:
    """Return the names of the datasets of a file, and of its groups, sorted."""
    names = []
    for name in sorted(file):
        entry = file.get(name)
        if isinstance(entry, h5py.Group):
            names += [
                f"{name}/{x}" for x in sorted(entry) if isinstance(entry.get(x), h5py.Dataset)
            ]
        elif isinstance(entry, h5py.Dataset):
            names.append(name)
    return names


def _role(name: str) -> tuple[str, str] | None:
    """Return the set and the kind of a dataset by its name; None for other names."""
    words = [x for x in re.split(r"[/_\-. ]+", name.lower()) if x not in ("", "set")]
    parts = [part for part, known in PARTS.items() for x in words if x in known]
    rest = [x for x in words if not any(x in known for known in PARTS.values())]
    kinds = [kind for kind, known in NAMES.items() if rest and rest[0] in known]
    if len(rest) != 1 or not kinds or len(parts) > 1:
        return None
    return (parts or ["train"])[0], kinds[0]


def _choose(path: Path, exact: str, names: list[str]) -> str:
    """Return the dataset of a role: the one of this name, or the only one. Errors: UserError."""
    if exact in names:
        return exact
    if len(names) > 1:
        raise UserError(
            f"{path}: {' and '.join(names)} could each be {exact}: rename the one to read to "
            f"{exact}, or take the others out"
        )
    return names[0]


def _open(path: Path) -> Any:
    """Open the file to read; locks are skipped on a file system without them."""
    return h5py.File(path, "r", locking="best-effort")


def _line(error: BaseException) -> str:
    """Return an error message as one line."""
    return " ".join(str(error).split())


def _column(path: Path, file: Any, name: str) -> NDArray[Any]:
    """Read groups, (n,), whole numbers or texts."""
    values = _values(path, file[name])
    if values.ndim > 1 and values.size == len(values):
        values = values.reshape(-1)
    if values.dtype.kind == "f" and (values == np.floor(values)).all():
        values = as_labels(f"{path}, {name}", values, "group")
    if values.ndim != 1 or values.dtype.kind not in "iuU":
        raise UserError(
            f"{path}: {name} must be (n,) whole numbers or texts, got "
            f"{dtype_name(file[name].dtype)} {values.shape}"
        )
    return values


def _values(path: Path, dataset: Any) -> NDArray[Any]:
    """Return the numbers or texts of a dataset, (n,) or more dimensions; texts are str."""
    if dataset.size is None:
        raise UserError(f"{path}: {dataset.name.strip('/')} is empty: write one value a sample")
    require_memory(path, dataset.size * dataset.dtype.itemsize)
    if h5py.check_string_dtype(dataset.dtype) is not None:
        texts = np.atleast_1d(dataset.asstr()[()])
        return texts.astype(str)
    return np.atleast_1d(dataset[()])


def _labels(path: Path, file: Any, name: str) -> NDArray[Any]:
    """Return the labels of a set, (n,) int64 or str. Errors: UserError."""
    return labels_of(f"{path}, {name}", _values(path, file[name]))


def _table(
    path: Path,
    file: Any,
    names: Mapping[str, str],
    labels: NDArray[np.int64],
    groups: NDArray[np.int64] | None,
) -> Table:
    """Return the table of a set, with labels in memory and inputs to be read. Errors: UserError."""
    x = file[names["x"]]
    if x.ndim < 2 or not math.prod(x.shape[1:]):
        raise UserError(
            f"{path}: {names['x']} must be (n, features), (n, height, width), (n, channels, "
            f"height, width) or of more dimensions, got shape {x.shape}"
        )
    if x.dtype.kind not in "biuf":
        raise UserError(
            f"{path}: {names['x']} must be numbers, floating or whole, or bools, got "
            f"{dtype_name(x.dtype)}: write numbers in place of texts and records"
        )
    require_samples(f"{path}, {names['x']}", len(x), len(labels))
    if groups is not None and len(groups) != len(labels):
        raise UserError(
            f"{path}: {names['group']} has {len(groups):,} samples, {names['y']} "
            f"{len(labels):,}: they must agree"
        )
    return Table(labels, x.shape[1:], Reader(path, names["x"]), groups=groups)


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
        rows = as_inputs(rows)
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
