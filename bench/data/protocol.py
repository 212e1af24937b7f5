"""What a reader of data files gives: tables of samples, their inputs read when they are wanted.

Features brought to one scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Rows: TypeAlias = Callable[[NDArray[np.int64]], NDArray[Any]]
"""rows(indices): the inputs of these samples, (m, *shape) uint8 or floating, in this order."""


@dataclass(frozen=True, eq=False)
class Table:
    """n samples: what is small in memory, and inputs that are read when they are wanted.

    labels: (n,) int64, >= 0. shape: of one input, (f,) or (height, width) or (channels, height,
    width). rows: see Rows; bytes stand for 0 to 1 in 255 steps. features: all inputs, (n, *shape),
    where they are in memory anyway, else None. groups: (n,) int64, >= 0, or None.
    """

    labels: NDArray[np.int64]
    shape: tuple[int, ...]
    rows: Rows
    features: NDArray[Any] | None = None
    groups: NDArray[np.int64] | None = None

    @property
    def size(self) -> int:
        """The number n of samples."""
        return len(self.labels)


def in_memory(
    features: NDArray[Any], labels: NDArray[np.int64], groups: NDArray[np.int64] | None = None
) -> Table:
    """The table of samples that are all in memory: features (n, *shape), labels and groups (n,)."""
    return Table(labels, features.shape[1:], features.__getitem__, features, groups)


def reshaped(table: Table, shape: tuple[int, ...]) -> Table:
    """The table with inputs of another shape, of as many numbers."""
    if table.features is not None:
        features = table.features.reshape(table.size, *shape)
        return in_memory(features, table.labels, table.groups)

    def rows(indices: NDArray[np.int64]) -> NDArray[Any]:
        return table.rows(indices).reshape(len(indices), *shape)

    return Table(table.labels, shape, rows, groups=table.groups)


def flat(table: Table) -> Table:
    """The table with inputs of one dimension, (f,)."""
    return reshaped(table, (math.prod(table.shape),))


def pictures(table: Table) -> Table:
    """The table with inputs (channels, height, width), one channel where there were none."""
    return reshaped(table, (1, *table.shape)[-3:])


@dataclass(frozen=True, eq=False)
class Dataset:
    """What a model trains on and what it is judged by.

    train, held_out: inputs of one shape. classes: above every label of both. names: of the classes
    where they have any, for people; groups: of the groups.
    """

    train: Table
    held_out: Table
    classes: int
    names: Sequence[str] = ()
    groups: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Text:
    """A text by its speakers, in the order of the file.

    codes: (N,) uint8 or int32, the place of each character in the alphabet. alphabet: its
    characters, sorted. speaker: (N,) int32, who speaks the character, a place in names.
    """

    codes: NDArray[Any]
    alphabet: str
    speaker: NDArray[np.int32]
    names: Sequence[str]


MEASURED = 10_000
"""Rows, taken evenly, by which means and deviations are measured."""
ROUNDING = 1e-9
"""Of the mean: a smaller deviation is none."""


def standardised(train: Table, *others: Table) -> list[Table]:
    """The tables, inputs (f,), with features of mean 0 and deviation 1 on the first of them.

    A feature that does not vary becomes 0. Rows are scaled when they are read: nothing is copied.
    """
    some = np.arange(0, train.size, -(-train.size // MEASURED))
    rows = train.rows(some).astype(np.float64)
    mean, deviation = rows.mean(0), rows.std(0)
    # A constant feature has a deviation by rounding.
    varies = deviation > ROUNDING * np.abs(mean)
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)

    def scaled(table: Table) -> Table:
        def rows_of(indices: NDArray[np.int64]) -> NDArray[Any]:
            return np.asarray((table.rows(indices) - mean) * scale)

        return Table(table.labels, table.shape, rows_of, groups=table.groups)

    return [scaled(table) for table in (train, *others)]
