"""Tables of samples, the output of readers of data files: inputs are read on request."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Rows: TypeAlias = Callable[[NDArray[np.int64]], NDArray[Any]]
"""rows(indices) returns the inputs of these samples, (m, *shape) uint8 or floating, in this
order."""


@dataclass(frozen=True, eq=False)
class Table:
    """Table of n samples: labels and groups in memory, inputs read on request.

    labels: (n,) int64, >= 0. shape: of one input, (f,) or (height, width) or (channels, height,
    width). rows: see Rows; bytes encode 0 to 1 in 255 steps. features: all inputs, (n, *shape), if
    they are in memory anyway, else None. groups: (n,) int64, >= 0, or None.
    """

    labels: NDArray[np.int64]
    shape: tuple[int, ...]
    rows: Rows
    features: NDArray[Any] | None = None
    groups: NDArray[np.int64] | None = None

    @property
    def size(self) -> int:
        """Return the number n of samples."""
        return len(self.labels)


def table_in_memory(
    features: NDArray[Any], labels: NDArray[np.int64], groups: NDArray[np.int64] | None = None
) -> Table:
    """Return the table of samples in memory: features (n, *shape), labels and groups (n,)."""
    return Table(labels, features.shape[1:], features.__getitem__, features, groups)


def reshape(table: Table, shape: tuple[int, ...]) -> Table:
    """Return the table with inputs of another shape of the same size."""
    if table.features is not None:
        features = table.features.reshape(table.size, *shape)
        return table_in_memory(features, table.labels, table.groups)

    def rows(indices: NDArray[np.int64]) -> NDArray[Any]:
        return table.rows(indices).reshape(len(indices), *shape)

    return Table(table.labels, shape, rows, groups=table.groups)


def subset(table: Table, indices: NDArray[np.int64]) -> Table:
    """Return the table of these samples, in this order."""
    labels = table.labels[indices]
    groups = None if table.groups is None else table.groups[indices]
    if table.features is not None:
        return table_in_memory(table.features[indices], labels, groups)
    return Table(labels, table.shape, lambda chosen: table.rows(indices[chosen]), groups=groups)


def flatten(table: Table) -> Table:
    """Return the table with inputs of one dimension, (f,)."""
    return reshape(table, (math.prod(table.shape),))


def as_pictures(table: Table) -> Table:
    """Return the table with inputs (channels, height, width), one channel if there is none."""
    return reshape(table, (1, *table.shape)[-3:])


@dataclass(frozen=True, eq=False)
class Dataset:
    """Data set: tables to train and to evaluate a model.

    train, held_out: inputs of one shape. classes: above every label of both. names: of the classes,
    for display, if they have any; groups: names of the groups.
    """

    train: Table
    held_out: Table
    classes: int
    names: Sequence[str] = ()
    groups: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Text:
    """Text by its speakers, in the order of the file.

    codes: (N,) uint8 or int32, the index of each character in the alphabet. alphabet: its
    characters, sorted. speaker: (N,) int32, the speaker of each character, an index into names.
    """

    codes: NDArray[Any]
    alphabet: str
    speaker: NDArray[np.int32]
    names: Sequence[str]


MEASURED = 10_000
"""Evenly spaced rows from which means and deviations are estimated."""
ROUNDING = 1e-9
"""Deviation, relative to the mean, below which a feature counts as constant."""


def standardise(train: Table, *rest: Table) -> list[Table]:
    """Return the tables, inputs (f,), with features of mean 0 and deviation 1 on the first of them.

    A constant feature becomes 0. Rows are scaled when they are read; nothing is copied.
    """
    some = np.arange(0, train.size, -(-train.size // MEASURED))
    rows = train.rows(some).astype(np.float64)
    mean, deviation = rows.mean(0), rows.std(0)
    # A constant feature has a deviation from rounding.
    varies = deviation > ROUNDING * np.abs(mean)
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)

    def scaled(table: Table) -> Table:
        def rows_of(indices: NDArray[np.int64]) -> NDArray[Any]:
            return np.asarray((table.rows(indices) - mean) * scale)

        return Table(table.labels, table.shape, rows_of, groups=table.groups)

    return [scaled(table) for table in (train, *rest)]
