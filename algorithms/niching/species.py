"""Species of a population: sketches of models, and clusters of their deviations from the mean.

Charikar, Chen, Farach-Colton: Finding Frequent Items in Data Streams, ICALP 2002 (count sketch);
Sattler, Müller, Samek: Clustered Federated Learning, IEEE TNNLS 32(8), 2021 (clusters of workers by
the similarity of their updates).
"""

import numpy as np
from numpy.typing import NDArray

LLOYD = 20
"""Maximum number of rounds of k-means; a few points in a few dimensions take less."""


def sketch(row: NDArray[np.floating], signs: NDArray[np.int8], size: int) -> NDArray[np.float64]:
    """Return the sketch of a row, (d,) to (size,) float64; inner products keep their expectation.

    signs: (d,), random +1 and -1. Number j is the sum of the signed elements j, j + size, ...
    """
    folded = np.zeros(-(-len(row) // size) * size)
    folded[: len(row)] = row
    folded[: len(row)] *= signs
    sums: NDArray[np.float64] = folded.reshape(-1, size).sum(0)
    return sums


def directions(covariance: NDArray[np.float64], most: int, gap: float) -> NDArray[np.float64]:
    """Return the directions in which a few clusters differ, (m, j) with j < most; none: j = 0.

    covariance: (m, m), symmetric. P clusters of members that deviate alike from the mean have P - 1
    eigenvalues that stand out. j is that of the largest ratio of eigenvalue j to the next one, if
    this ratio is at least `gap`.
    """
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    leading = values[:most].clip(0)
    if most < 2 or leading[0] == 0:
        return vectors[:, :0]
    tiny = np.finfo(np.float64).eps * leading[0]
    ratios = leading[:-1] / leading[1:].clip(tiny)
    j = int(ratios.argmax())
    return vectors[:, : j + 1] if ratios[j] >= gap else vectors[:, :0]


def clusters(points: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Return the cluster of each point by k-means, (n, j) to (n,) int64; count: of clusters.

    The first centres are point 0 and then each time the point farthest from those before.
    """
    centres = points[:1]
    while len(centres) < count:
        centres = np.vstack([centres, points[_distances(points, centres).min(1).argmax()]])
    of: NDArray[np.int64] = _distances(points, centres).argmin(1)
    for _ in range(LLOYD):
        before = of
        centres = np.array(
            [points[of == c].mean(0) if (of == c).any() else x for c, x in enumerate(centres)]
        )
        of = _distances(points, centres).argmin(1)
        if np.array_equal(of, before):
            break
    return of


def _distances(points: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the squared distances of points to centres, (n, k)."""
    distances: NDArray[np.float64] = ((points[:, None] - centres) ** 2).sum(2)
    return distances
