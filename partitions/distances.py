"""How far the features of each worker are from those of all: sliced Wasserstein distances.

Rabin, Peyre, Delon, Bernot, "Wasserstein Barycenter and Its Application to Texture Mixing", SSVM
2011; Bonneel, Rabin, Peyre, Pfister, "Sliced and Radon Wasserstein Barycenters of Measures",
Journal of Mathematical Imaging and Vision 51, 2015.  Symbols: f features, P directions, Q levels, W
workers.

Along a line, the Wasserstein distance W1 is the area between two quantile functions.  Each worker's
features are projected on P random directions and told by their quantiles at Q levels, so ranks that
hold other workers send (Q, P) numbers a worker and no sample.

Departs from the papers: (1) quantiles at Q levels stand for the samples; (2) the distance is
divided by the spread of all features along the directions, so that it has no unit: 1 is a shift by
one standard deviation along every direction.
"""

import numpy as np
from numpy.typing import NDArray

DIRECTIONS, LEVELS = 16, 64


def directions(features: int, count: int = DIRECTIONS) -> NDArray[np.float64]:
    """Random unit vectors, (f, P), always the same ones."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((features, count))
    unit: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=0)
    return unit


def quantiles(features: NDArray[np.floating], along: NDArray[np.float64]) -> NDArray[np.float64]:
    """The quantile functions of the projections at mid-levels (q + 1/2) / Q: (Q, P) float64.

    features: (m, f), m >= 1; along: (f, P).
    """
    levels = (np.arange(LEVELS) + 0.5) / LEVELS
    projected = np.sort(features.astype(np.float64) @ along, axis=0)
    # The generalised inverse of the distribution function: a value of the sample, no interpolation.
    return projected[np.ceil(levels * len(projected)).astype(np.int64) - 1]


def distances(by_worker: NDArray[np.float64], sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """The distance of each worker from the mixture of all, (W,) float64, >= 0.

    by_worker: (W, Q, P), see quantiles; sizes: (W,) int64, samples of each worker, which weigh them
    in the mixture.  0 where no feature varies.
    """
    workers, levels, count = by_worker.shape
    values = by_worker.reshape(workers * levels, count)
    order = np.argsort(values, axis=0)
    weights = np.repeat(sizes / sizes.sum() / levels, levels)
    ends = np.cumsum(weights[order], axis=0)
    found = np.empty((levels, count))
    for p in range(count):
        wanted = (np.arange(levels) + 0.5) / levels * ends[-1, p]
        place = np.minimum(np.searchsorted(ends[:, p], wanted), len(order) - 1)
        found[:, p] = values[order[place, p], p]
    mean = weights @ values
    spread = float(np.sqrt((weights @ (values - mean) ** 2).mean()))
    apart: NDArray[np.float64] = np.abs(by_worker - found).mean(axis=(1, 2))
    return apart / spread if spread else np.zeros(workers)
