"""Two-dimensional torus all-reduce: rings along the rows, then along the columns.

Mikami et al.: Massively distributed SGD: ImageNet/ResNet-50 training in a flash, 2018, section
3.2; Jain, Sabharwal: Optimal bucket algorithms for large MPI collectives on torus interconnects,
ICS 2010, for the chunks.
Symbols: p = a b ranks, rank i b + j is in row i and column j; d elements.
Departures: none.

    1. reduce-scatter along the row: rank (i, j) holds the row's sum of chunk j, d/b elements
    2. reduce-scatter, then all-gather, of that chunk along the column
    3. all-gather along the row

a is the largest factor of p up to its square root. A prime p has no second dimension: a = 1, and
the algorithm is the ring. A rank sends 2 (b - 1) + 2 (a - 1) messages, and all ranks together
2 (p - 1) d elements: as few as the ring, in far fewer steps (p = 256: 60 instead of 510).
"""

from __future__ import annotations

from math import isqrt

from algorithms.collectives.ring import all_gather, reduce_scatter
from algorithms.wire.carrier import Scheduled
from algorithms.wire.placement import Placement
from algorithms.wire.schedule import Schedule, divide, even


def sides(p: int) -> tuple[int, int]:
    """Return the numbers of rows and columns, a <= b, as close to a square as p allows."""
    a = next(a for a in range(isqrt(p), 0, -1) if p % a == 0)
    return a, p // a


class Torus(Scheduled):
    """Rings along the rows, then the columns of a grid: fewer steps; a ring if p is prime."""

    @staticmethod
    def schedule(rank: int, placement: Placement, d: int, itemsize: int) -> Schedule:
        """Return the schedule with each chunk in one piece."""
        a, b = sides(placement.ranks)
        i, j = divmod(rank, b)
        row = range(i * b, (i + 1) * b)
        column = range(j, a * b, b)
        wide = even(0, d, b)
        narrow = even(wide[j], wide[j + 1], a)
        return Schedule(
            [
                *reduce_scatter(row, j, wide),
                *reduce_scatter(column, i, narrow),
                divide(narrow[i], narrow[i + 1]),
                *all_gather(column, i, narrow),
                *all_gather(row, j, wide),
            ],
            home=d,
        )
