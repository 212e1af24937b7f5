"""Tables of samples, the output of readers of data files: inputs are read on request."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bench.common.spec import UserError

BYTE = 255
"""Maximum of a byte, which encodes 1."""

Rows: TypeAlias = Callable[[NDArray[np.int64]], NDArray[Any]]
"""rows(indices) returns the inputs of these samples, (m, *shape) uint8 or floating, in this
order."""


@dataclass(frozen=True, eq=False)
class Table:
    """Table of n samples: labels and groups in memory, inputs read on request.

    labels: (n,) int64, >= 0. shape: of one input, (f,) or (height, width) or (channels, height,
    width). rows: see Rows; bytes encode 0 to 1 in 255 steps. features: all inputs, (n, *shape), if
    they are in memory anyway, else None. groups: (n,) int64, >= 0, or None. place: function that
    returns the place of feature j of sample i in its file, place(i, j), or None.
    """

    labels: NDArray[np.int64]
    shape: tuple[int, ...]
    rows: Rows
    features: NDArray[Any] | None = None
    groups: NDArray[np.int64] | None = None
    place: Callable[[int, int], str] | None = None

    @property
    def size(self) -> int:
        """Return the number n of samples."""
        return len(self.labels)


def table_in_memory(
    features: NDArray[Any],
    labels: NDArray[np.int64],
    groups: NDArray[np.int64] | None = None,
    place: Callable[[int, int], str] | None = None,
) -> Table:
    """Return the table of samples in memory: features (n, *shape), labels and groups (n,)."""
    return Table(labels, features.shape[1:], features.__getitem__, features, groups, place)


def reshape(table: Table, shape: tuple[int, ...]) -> Table:
    """Return the table with inputs of another shape of the same size."""
    if table.features is not None:
        features = table.features.reshape(table.size, *shape)
        return table_in_memory(features, table.labels, table.groups, table.place)

    def rows(indices: NDArray[np.int64]) -> NDArray[Any]:
        return table.rows(indices).reshape(len(indices), *shape)

    return Table(table.labels, shape, rows, groups=table.groups, place=table.place)


def subset(table: Table, indices: NDArray[np.int64]) -> Table:
    """Return the table of these samples, in this order."""
    labels = table.labels[indices]
    groups = None if table.groups is None else table.groups[indices]

    def place(i: int, j: int) -> str:
        return place_of(table, int(indices[i]), j)

    if table.features is not None:
        return table_in_memory(table.features[indices], labels, groups, place)

    def rows(chosen: NDArray[np.int64]) -> NDArray[Any]:
        return table.rows(indices[chosen])

    return Table(labels, table.shape, rows, groups=groups, place=place)


def place_of(table: Table, i: int, j: int) -> str:
    """Return the place of feature j of sample i."""
    return table.place(i, j) if table.place else f"feature {j} of sample {i}"


def in_dtype(table: Table, indices: NDArray[np.int64], dtype: str) -> NDArray[np.floating]:
    """Return the inputs of these samples in a dtype; bytes as fractions of 255.

    Errors: UserError with the place of the first number that the dtype cannot hold.
    """
    rows = table.rows(indices)
    if rows.dtype == np.uint8:
        return np.asarray(rows.astype(dtype) / BYTE)
    with np.errstate(over="ignore"):
        result: NDArray[np.floating] = rows.astype(dtype, copy=False)
    good = np.isfinite(result).reshape(len(rows), -1)
    if not good.all():
        i, j = np.argwhere(~good)[0].tolist()
        raise UserError(
            f"{place_of(table, int(indices[i]), j)} is {rows[i].ravel()[j]:g}, and {dtype} holds "
            f"numbers up to {np.finfo(dtype).max:.2g}: give --dtype float64, or scale the feature"
        )
    return result


def flatten(table: Table) -> Table:
    """Return the table with inputs of one dimension, (f,)."""
    return reshape(table, (math.prod(table.shape),))


CHANNELS = (1, 3, 4)
"""Numbers of channels by which a picture (height, width, channels) is recognised."""


def as_pictures(table: Table) -> Table:
    """Return the table with inputs (channels, height, width), one channel if there is none.

    Channels in the last place move to the first.
    """
    shape = table.shape
    if len(shape) == 3 and shape[2] in CHANNELS and shape[0] not in CHANNELS:
        return _channels_first(table)
    return reshape(table, (1, *shape)[-3:])


def _channels_first(table: Table) -> Table:
    """Return pictures (height, width, channels) as (channels, height, width)."""
    height, width, channels = table.shape

    def rows(indices: NDArray[np.int64]) -> NDArray[Any]:
        return np.ascontiguousarray(np.moveaxis(table.rows(indices), -1, 1))

    def place(i: int, j: int) -> str:
        channel, pixel = divmod(j, height * width)
        return place_of(table, i, pixel * channels + channel)

    features = None if table.features is None else np.moveaxis(table.features, -1, 1)
    shape = channels, height, width
    return Table(table.labels, shape, rows, features, table.groups, place)


@dataclass(frozen=True)
class Summary:
    """Summary of a file as it was read: one line, and notes about doubtful content.

    Both are empty for the data of a task itself.
    """

    line: str = ""
    notes: tuple[str, ...] = ()


NO_FILE = Summary()


@dataclass(frozen=True, eq=False)
class Dataset:
    """Data set: tables to train and to evaluate a model.

    train, held_out: inputs of one shape. classes: above every label of both. names: of the classes,
    for display, if they have any; groups: names of the groups. summary: of their file.
    """

    train: Table
    held_out: Table
    classes: int
    names: Sequence[str] = ()
    groups: Sequence[str] = ()
    summary: Summary = NO_FILE


class Content(NamedTuple):
    """Content of a file: its tables "train" and "held_out", or one of them.

    classes, groups: names of both; classes are empty where the labels are numbers. layout: words
    about the reading of the file.
    """

    sets: Mapping[str, Table]
    classes: Sequence[str] = ()
    groups: Sequence[str] = ()
    layout: str = ""
    notes: Sequence[str] = ()


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
HUGE = 1e140
"""Number whose square, summed over all rows, is far below the maximum of float64."""


def standardise(train: Table, *rest: Table) -> list[Table]:
    """Return the tables, inputs (f,), with features of mean 0 and deviation 1 on the first of them.

    A constant feature becomes 0. Rows are scaled when they are read; nothing is copied.
    """
    some = np.arange(0, train.size, -(-train.size // MEASURED))
    rows = train.rows(some).astype(np.float64)
    # A feature whose squares or sums overflow is divided by its largest number first.
    largest = np.abs(rows).max(0)
    unit = np.where(largest > HUGE, largest, 1.0)
    rows /= unit
    mean, deviation = rows.mean(0), rows.std(0)
    # A constant feature has a deviation from rounding.
    varies = deviation > ROUNDING * np.abs(mean)
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)

    def scaled(table: Table) -> Table:
        def rows_of(indices: NDArray[np.int64]) -> NDArray[Any]:
            return np.asarray((table.rows(indices) / unit - mean) * scale)

        return Table(table.labels, table.shape, rows_of, groups=table.groups, place=table.place)

    return [scaled(table) for table in (train, *rest)]
