"""Sums over workers in the order of a canonical tree.

Node (level, i) of the tree over W workers covers the workers [i W >> level, (i + 1) W >> level);
its children are (level + 1, 2 i) and (level + 1, 2 i + 1), which split it without a gap. When W
workers live on R = 2^m ranks, rank r hosts exactly node (m, r), for any W. One vector a rank is
then enough to add everything in the order of this tree, and the sum has the same bits on 1, 2, 4,
... ranks.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from algorithms.wire.bfloat16 import round_in_place

Span = tuple[int, int]
"""[lo, hi) of consecutive workers."""


def span(total: int, level: int, index: int) -> Span:
    """Return the workers that a node covers; empty if the tree is ragged there."""
    return index * total >> level, (index + 1) * total >> level


def cover(total: int, lo: int, hi: int, level: int = 0, index: int = 0) -> Iterator[Span]:
    """Yield the fewest nodes that together cover [lo, hi), ascending."""
    a, b = span(total, level, index)
    if a == b or b <= lo or hi <= a:
        return
    if lo <= a and b <= hi:
        yield a, b
        return
    yield from cover(total, lo, hi, level + 1, 2 * index)
    yield from cover(total, lo, hi, level + 1, 2 * index + 1)


SHORT = 256
"""Maximum length of rows of which all sums of a level are one array operation."""


class TreeSum:
    """Sum of the rows of the workers [lo, hi) in tree order, planned once with its scratch memory.

    Short rows are added level by level, all nodes of a level at once. Of long rows, the operands
    are rows, by number, or scratch vectors, by -1 - level. The scratch memory is one (d,) vector a
    level, so that the rows stream through the cache once. The sums have the same bits.

    rounded: round rows and sums to bfloat16, as where they travel between ranks.
    """

    def __init__(
        self,
        total: int,
        span_: Span,
        d: int,
        dtype: np.dtype[np.floating],
        *,
        rounded: bool = False,
    ) -> None:
        self._total, self._rounded, self._short = total, rounded, d <= SHORT and not rounded
        self._leaves = np.empty((2 if rounded else 0, d), dtype)
        self._lo, self._hi = span_
        self._adds: list[tuple[int, int, int]] = []
        self._root, self._scratch = 0, list[NDArray[np.floating]]()
        if not self._short:
            self._root = self._plan(0, 0, into=-1)
            deepest = max((-1 - operand for add in self._adds for operand in add), default=0)
            self._scratch = list(np.empty((deepest, d), dtype))

    def _plan(self, level: int, index: int, into: int) -> int:
        """Return the operand with the sum of a node; -1 is the output itself."""
        a, b = span(self._total, level, index)
        a, b = max(a, self._lo), min(b, self._hi)
        if b - a == 1:
            return a - self._lo
        _, middle = span(self._total, level + 1, 2 * index)
        if middle <= a:
            return self._plan(level + 1, 2 * index + 1, into)
        if b <= middle:
            return self._plan(level + 1, 2 * index, into)
        left = self._plan(level + 1, 2 * index, into)
        right = self._plan(level + 1, 2 * index + 1, -2 - level)
        self._adds.append((left, right, into))
        return into

    def __call__(self, rows: NDArray[np.floating], out: NDArray[np.floating]) -> None:
        """Set out, (d,), to the sum of rows, (hi - lo, d)."""
        if self._short:
            out[:] = self._by_levels(rows)
            return
        if not self._adds:
            out[:] = rows[self._root]
            if self._rounded:
                round_in_place(out)
            return

        def vector(operand: int, side: int = 0) -> NDArray[np.floating]:
            if operand >= 0:
                row: NDArray[np.floating] = rows[operand]
                return self._rounded_row(row, side) if self._rounded else row
            return out if operand == -1 else self._scratch[-2 - operand]

        for left, right, into in self._adds:
            total = vector(into)
            np.add(vector(left), vector(right, 1), out=total)
            if self._rounded:
                round_in_place(total)

    def _rounded_row(self, row: NDArray[np.floating], side: int) -> NDArray[np.floating]:
        """Return a row, rounded, in the memory of the left or the right operand."""
        leaf: NDArray[np.floating] = self._leaves[side]
        leaf[:] = row
        round_in_place(leaf)
        return leaf

    def _by_levels(self, rows: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return the sum of rows, (hi - lo, d); nodes without workers are skipped."""
        level = self._total.bit_length() - 1  # whose nodes have one or two workers
        edges = np.arange(2**level + 1) * self._total >> level
        first = int(np.searchsorted(edges, self._lo, side="right")) - 1
        last = int(np.searchsorted(edges, self._hi, side="left"))
        edges = np.clip(edges[first : last + 1], self._lo, self._hi) - self._lo
        sums = rows[edges[:-1]]
        pairs = np.flatnonzero(np.diff(edges) == 2)
        sums[pairs] += rows[edges[pairs] + 1]
        while len(sums) > 1:
            alone = first % 2  # the first node has no sibling with workers
            body = sums[alone:]
            n = len(body) // 2
            parents = np.empty_like(sums, shape=(alone + (len(body) + 1) // 2, sums.shape[1]))
            parents[:alone] = sums[:alone]
            np.add(body[: 2 * n : 2], body[1::2], out=parents[alone : alone + n])
            parents[alone + n :] = body[2 * n :]
            sums, first = parents, first // 2
        total: NDArray[np.floating] = sums[0]
        return total
