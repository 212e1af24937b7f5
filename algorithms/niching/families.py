"""Families of a population, and the matching of their members by distance.

Mengshoel, Goldberg: The Crowding Approach to Niching in Genetic Algorithms, Evolutionary
Computation 16(3), 2008, section 3: random disjoint families, then the bijection of the smallest
total distance, m* = argmin_m sum_i d(i, m(i)).
"""

from functools import cache
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

LARGEST = 6
"""Largest size of a family: all 720 bijections are compared."""


def families(total: int, size: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Return random disjoint families of at most `size` members that cover 0 .. total - 1.

    Their sizes differ by at most one. Members are int64, ascending.
    """
    order = rng.permutation(total)
    return [np.sort(family) for family in np.array_split(order, -(-total // size))]


def relatives(groups: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return all pairs of a worker and another one of its family, (n, 2) int64."""
    pairs = [np.stack(np.meshgrid(group, group), -1).reshape(-1, 2) for group in groups]
    every = np.concatenate([np.empty((0, 2), np.int64), *pairs])
    different: NDArray[np.int64] = every[every[:, 0] != every[:, 1]]
    return different


def distances(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the Euclidean distances between all rows, (n, d) to (n, n) float64."""
    n = len(rows)
    apart = np.zeros((n, n))
    for i in range(n):
        for j in range(i):
            difference = rows[i].astype(np.float64) - rows[j]
            apart[i, j] = apart[j, i] = np.sqrt(difference @ difference)
    return apart


def match(distance: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the bijection m* that minimises sum_i distance[i, m(i)], (n,) int64.

    distance: (n, n) with n <= LARGEST, of children to parents; infinite where a match is excluded.
    Of equal sums the lexicographically first one wins.
    """
    choices = _bijections(len(distance))
    sums = distance[np.arange(len(distance)), choices].sum(1)
    best: NDArray[np.int64] = choices[np.argmin(sums)]
    return best


def mates(rows: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the mate of each member of a family, another member, (n,) int64.

    rows: (n, d) with n >= 2. It is the matching of the members to each other: two pairs in a family
    of four, a cycle in one of three.
    """
    return nearest(distances(rows))


def nearest(apart: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the mates of members by their distances, (n, n) to (n,) int64, as `mates` does."""
    others = apart.copy()
    np.fill_diagonal(others, np.inf)
    return match(others)


@cache
def _bijections(n: int) -> NDArray[np.int64]:
    return np.array(list(permutations(range(n))), np.int64).reshape(-1, n)
