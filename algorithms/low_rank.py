"""Layers as products of two thin matrices, and where those lie in a message."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from algorithms.layers import Layer
from algorithms.wire.handles import Rows


@dataclass(frozen=True)
class Factors:
    """A layer M, (a, b), that travels as P and Q of rank r: M is about the sum of p_j q_j^T.

    layer: its elements in a row of parameters. p, q: those of P, (r, a), and of Q, (r, b), in
    rows of their own.
    """

    a: int
    b: int
    rank: int
    layer: slice
    p: slice
    q: slice

    def matrix(self, rows: Rows) -> Rows:
        """(..., a, b) M, a view of rows (..., d)."""
        return rows[..., self.layer].reshape(*rows.shape[:-1], self.a, self.b)

    def left(self, rows: Rows) -> Rows:
        """(..., r, a) P, transposed, a view of rows (..., n)."""
        return rows[..., self.p].reshape(*rows.shape[:-1], self.rank, self.a)

    def right(self, rows: Rows) -> Rows:
        """(..., r, b) Q, transposed, a view of rows (..., n)."""
        return rows[..., self.q].reshape(*rows.shape[:-1], self.rank, self.b)


def factors(layers: Sequence[Layer], rank: int, least: float) -> tuple[Factors, ...]:
    """Those of all layers that shrink more than `least`-fold; never of vectors."""
    found: list[Factors] = []
    p = q = 0
    for layer in layers:
        if len(layer.shape) < 2:
            continue
        a, b = layer.shape[0], prod(layer.shape[1:])
        r = min(rank, a, b)
        if r * (a + b) * least < a * b:
            at = slice(layer.start, layer.stop)
            found.append(Factors(a, b, r, at, slice(p, p + r * a), slice(q, q + r * b)))
            p, q = p + r * a, q + r * b
    return tuple(found)


def others(layers: Sequence[Layer], parts: Sequence[Factors]) -> tuple[tuple[slice, slice], ...]:
    """Layers that travel whole: where in a row, and where in the message that begins with all P."""
    compressed = {part.layer.start for part in parts}
    found, at = [], parts[-1].p.stop if parts else 0
    for layer in layers:
        if layer.start not in compressed:
            size = layer.stop - layer.start
            found.append((slice(layer.start, layer.stop), slice(at, at + size)))
            at += size
    return tuple(found)


def orthonormalise(P: Rows) -> None:
    """Make the rows of P, (r, a), orthonormal in place, by modified Gram-Schmidt, twice.

    Twice, because after one pass rows that were nearly parallel are not yet orthogonal. Sums by
    numpy alone, no BLAS: all ranks get the same bits, whatever they run on. A row that is all in
    the span of those before it becomes zero where nothing is left of it.
    """
    for j in range(len(P)):
        for _ in range(2):
            for before in P[:j]:
                P[j] -= (P[j] * before).sum() * before
            norm = np.sqrt((P[j] * P[j]).sum())
            if norm == 0:
                break
            P[j] /= norm
