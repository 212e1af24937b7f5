"""Clipping of gradients by their norm: Pascanu, Mikolov, Bengio, ICML 2013, Algorithm 1."""

from __future__ import annotations

import math

import numpy as np

from algorithms.protocol import Rows, Vector

BLOCK = 2**16
"""Elements whose squares are in memory at once."""


def norm(row: Vector) -> float:
    """Return the Euclidean norm of a row, (d,): added in float64 in an order of its own.

    No library of linear algebra adds here: its order may depend on the number of rows or threads.
    """
    blocks = (row[a : a + BLOCK] for a in range(0, len(row), BLOCK))
    return math.sqrt(math.fsum(float(np.square(x, dtype=np.float64).sum()) for x in blocks))


def clip(rows: Rows, limit: float) -> None:
    """Scale each row of (V, d) whose norm is above the limit to the limit, in place.

    A row with NaN keeps its values, so that divergence is visible.
    """
    for row in rows:
        size = norm(row)
        if size > limit:
            np.multiply(row, row.dtype.type(limit / size), out=row)
