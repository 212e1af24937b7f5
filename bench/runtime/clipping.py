"""Clipping of gradients by their norm: Pascanu, Mikolov, Bengio, ICML 2013, Algorithm 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from algorithms.protocol import Layer, Rows, Vector

BLOCK = 2**16
"""Elements whose squares are in memory at once."""


def norm(row: Vector) -> float:
    """Return the Euclidean norm of a row, (d,): added in float64 in an order of its own.

    No library of linear algebra adds here: its order may depend on the number of rows or threads.
    """
    return math.sqrt(math.fsum(squares(row)))


def squares(row: Vector) -> list[float]:
    """Return the sum of the squares of each block of a row, in float64."""
    row = np.asarray(row)
    blocks = (row[a : a + BLOCK] for a in range(0, len(row), BLOCK))
    return [float(np.square(x, dtype=np.float64).sum()) for x in blocks]


def clip(rows: Rows, limit: float) -> None:
    """Scale each row of (V, d) whose norm is above the limit to the limit, in place.

    A row with NaN keeps its values, so that divergence is visible.
    """
    _scale(rows, [norm(row) for row in rows], limit)


def clip_parts(
    rows: Rows,
    layers: Sequence[Layer],
    limit: float,
    gather: Callable[[list[list[float]]], list[list[list[float]]]],
) -> None:
    """Clip rows of which each rank has the columns of some layers, (V, n), in place; collective.

    Blocks begin at layers, and math.fsum rounds once, so that every cut of the layers gives the
    same bits. gather: returns the sums of all ranks that share these rows.
    """
    own = [[x for layer in layers for x in squares(row[layer.start : layer.stop])] for row in rows]
    everywhere = gather(own)
    sums = [math.fsum(x for rank in everywhere for x in rank[v]) for v in range(len(rows))]
    _scale(rows, [math.sqrt(x) for x in sums], limit)


def _scale(rows: Rows, norms: Sequence[float], limit: float) -> None:
    for row, size in zip(rows, norms, strict=True):
        if size > limit:
            np.multiply(row, row.dtype.type(limit / size), out=row)
