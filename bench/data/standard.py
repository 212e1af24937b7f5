"""Features brought to one scale."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.protocol import Table

MEASURED = 10_000
"""Rows, taken evenly, by which means and deviations are measured."""


def standardised(train: Table, *others: Table) -> list[Table]:
    """The tables, inputs (f,), with features of mean 0 and deviation 1 on the first of them.

    A feature that does not vary becomes 0.
    """
    some = np.arange(0, train.size, -(-train.size // MEASURED))
    rows = train.rows(some).astype(np.float64)
    mean, deviation = rows.mean(0), rows.std(0)
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0)

    def scaled(table: Table) -> Table:
        def rows_of(indices: NDArray[np.int64]) -> NDArray[Any]:
            return np.asarray((table.rows(indices) - mean) * scale)

        features = None if table.features is None else (table.features - mean) * scale
        return Table(table.labels, table.shape, rows_of, features, table.groups)

    return [scaled(table) for table in (train, *others)]
