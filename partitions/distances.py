"""How far the features of each worker are from those of all: sliced Wasserstein distances.

Rabin, Peyre, Delon, Bernot, "Wasserstein Barycenter and Its Application to Texture Mixing", SSVM
2011; Bonneel, Rabin, Peyre, Pfister, "Sliced and Radon Wasserstein Barycenters of Measures",
Journal of Mathematical Imaging and Vision 51, 2015.  Symbols: f features, P directions, Q levels, W
workers.

Along a line, the Wasserstein distance W1 is the area between two quantile functions.  Each worker's
features are projected on P random directions and told by their quantiles at Q levels, so ranks that
hold other workers send (Q, P) numbers a worker and no sample.

Departs from the papers: (1) the distance is of order 1, where they take squares, so that a few
samples far out do not decide; (2) P directions, drawn once for all runs, stand for all of them, and
quantiles at Q levels for the samples: along a direction where all features span r, W1 is off by
3 r / (2 Q) at most; (3) the distance is divided by the spread of all features, the root mean square
over the directions of their standard deviation, so that it has no unit: 1 is a shift by one
standard deviation along every direction.
"""

import numpy as np
from numpy.typing import NDArray

DIRECTIONS, LEVELS = 16, 64
ROUNDING = 1e-12
"""Of the largest projection: a spread below this is that of a sum in float64, not of features."""


def directions(features: int, count: int = DIRECTIONS) -> NDArray[np.float64]:
    """Random unit vectors, (f, P) float64, always the same ones."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((features, count))
    unit: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=0)
    return unit


def quantiles(features: NDArray[np.floating], along: NDArray[np.float64]) -> NDArray[np.float64]:
    """The quantile functions of the projections at mid-levels (q + 1/2) / Q: (Q, P) float64.

    features: (m, f), finite; along: (f, P), see directions.  NaN where there is no sample.
    """
    if not len(features):
        return np.full((LEVELS, along.shape[1]), np.nan)
    levels = (np.arange(LEVELS) + 0.5) / LEVELS
    projected = np.sort(features.astype(np.float64) @ along, axis=0)
    # The generalised inverse of the distribution function: a value of the sample, no interpolation.
    return projected[np.ceil(levels * len(projected)).astype(np.int64) - 1]


def distances(by_worker: NDArray[np.float64], sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """The distance of each worker from the mixture of all, (W,) float64, >= 0.

    by_worker: (W, Q, P), see quantiles; sizes: (W,) int64, samples of each worker, which weigh them
    in the mixture.  0 where no feature varies.  An empty shard has no features and no weight: NaN.
    """
    found = np.full(len(by_worker), np.nan)
    there = sizes > 0
    if there.any():
        held, weights = by_worker[there], sizes[there]
        apart = np.abs(held - mixture(held, weights)).mean(axis=(1, 2))
        width = spread(held, weights)
        found[there] = apart / width if width > ROUNDING * np.abs(held).max() else 0.0
    return found


def mixture(by_worker: NDArray[np.float64], sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """The quantile functions of all samples together at the same levels: (Q, P) float64.

    by_worker: (W, Q, P); sizes: (W,) int64, > 0.
    """
    _, levels, count = by_worker.shape
    # In units of 1 / (2 Q n) shares and levels are whole: whether a level lies just before a value
    # or after it is no matter of rounding, so the order of the workers makes no difference.
    shares = np.repeat(2 * sizes, levels)
    wanted = (2 * np.arange(levels) + 1) * sizes.sum()
    found = np.empty((levels, count))
    for p in range(count):
        values = by_worker[:, :, p].ravel()
        order = np.argsort(values)
        found[:, p] = values[order[np.searchsorted(np.cumsum(shares[order]), wanted)]]
    return found


def spread(by_worker: NDArray[np.float64], sizes: NDArray[np.int64]) -> float:
    """Root mean square over the directions of the standard deviation of all samples together.

    by_worker: (W, Q, P); sizes: (W,) int64, > 0.
    """
    mean = np.average(by_worker.mean(axis=1), axis=0, weights=sizes)
    variance = np.average(((by_worker - mean) ** 2).mean(axis=1), axis=0, weights=sizes)
    return float(np.sqrt(variance.mean()))
