"""Features brought to one scale."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.protocol import Table

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
