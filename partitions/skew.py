"""Measures of skew between shards: sizes, labels, features and neighbourhoods.

Symbols: n_k samples in shard k, n their sum, pi_k the label shares of shard k, pi those of all
shards together (a sample counts once for each shard that contains it), H the entropy in nats.

  label_tv[k]           total variation, sum_c |pi_k,c - pi_c| / 2; twice that is the earth mover's
                        distance of Zhao et al., 2018 (arXiv:1806.00582)
  hellinger[k]          |sqrt pi_k - sqrt pi| / sqrt 2
  effective_classes[k]  exp H(pi_k): number of classes of a shard, rare ones counting less; the
                        diversity of order 1 of Hill, "Diversity and Evenness: A Unifying Notation
                        and Its Consequences", Ecology 54(2), 1973
  missing_classes[k]    fraction of the classes present that is missing in the shard
  label_js              generalised Jensen-Shannon divergence: Lin, "Divergence Measures Based on
                        the Shannon Entropy", IEEE Transactions on Information Theory 37(1), 1991,
                        with weights n_k / n; it equals the mutual information I(worker; label)
  size_gini             Gini coefficient of the sizes: 0 if all are equal, 1 - 1/W if one worker
                        has all samples
  size_cv               coefficient of variation: standard deviation of the sizes over their mean
  effective_workers     n^2 / sum n_k^2: number of equal shards of the same weight; the effective
                        sample size of Kish, "Survey Sampling", 1965

Departs from the source: (1) label_js is divided by min(log W, log C'), C' the classes present,
which bounds it by 1: each worker a class of its own, or each class a worker of its own.

Neighbourhoods: Bellet, Kermarrec, Lavoie, "D-Cliques: Compensating for Data Heterogeneity with
Topology in Decentralized Federated Learning", SRDS 2022, build topologies whose neighbourhoods have
the labels of the whole; Le Bars et al., "Refined Convergence and Topology Learning for
Decentralized SGD with Heterogeneous Data", AISTATS 2023, show that convergence depends on them.

Features, by sliced Wasserstein distances: Rabin, Peyre, Delon, Bernot, "Wasserstein Barycenter and
Its Application to Texture Mixing", SSVM 2011; Bonneel, Rabin, Peyre, Pfister, "Sliced and Radon
Wasserstein Barycenters of Measures", Journal of Mathematical Imaging and Vision 51, 2015. Symbols:
f features, P directions, Q levels. On a line, the Wasserstein distance W1 is the area between two
quantile functions. Each worker's features are projected on P random directions and summarised by
their quantiles at Q levels, so that ranks exchange (Q, P) numbers a worker and no sample.

Departs from the papers: (1) the distance is of order 1, not 2, so that a few outliers do not
dominate; (2) P directions, drawn once for all runs, stand for all of them, and quantiles at Q
levels for the samples: along a direction in which all features span r, W1 is off by at most 3 r /
(2 Q); (3) the distance is divided by the spread of all features, the root mean square over the
directions of their standard deviation, so that it has no unit: 1 is a shift by one standard
deviation along every direction.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Skew:
    """Skew of W shards over C classes; every array but counts is (W,), see the module.

    counts: (W, C) int64, samples of each class in each shard. sizes: int64, samples in each shard.
    label_tv, hellinger, missing_classes: float64 in [0, 1]; 1 for an empty shard.
    effective_classes: float64, 1 to C; 0 for an empty shard. label_js: in [0, 1]; 0 for one worker
    or one class. An empty shard has no weight.
    """

    counts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    label_tv: NDArray[np.float64]
    hellinger: NDArray[np.float64]
    effective_classes: NDArray[np.float64]
    missing_classes: NDArray[np.float64]
    label_js: float

    def summary(self) -> dict[str, float]:
        """Return the scalars for a table; every worker has the same weight in a mean.

        missing_classes_mean is in [0, 1], label_emd_mean in [0, 2], size_ratio >= 1 and infinite if
        a shard is empty, size_cv in [0, sqrt(W - 1)], effective_workers in [1, W]. Without any
        sample size_cv and effective_workers are 0.
        """
        sizes = self.sizes.astype(np.float64)
        smallest = int(self.sizes.min())
        return {
            "label_js": self.label_js,
            "label_tv_mean": float(self.label_tv.mean()),
            "label_tv_max": float(self.label_tv.max()),
            "label_emd_mean": float(2 * self.label_tv.mean()),
            "hellinger_mean": float(self.hellinger.mean()),
            "effective_classes_mean": float(self.effective_classes.mean()),
            "missing_classes_mean": float(self.missing_classes.mean()),
            "size_min": smallest,
            "size_median": float(np.median(self.sizes)),
            "size_max": int(self.sizes.max()),
            "size_ratio": int(self.sizes.max()) / smallest if smallest else math.inf,
            "size_gini": gini(sizes),
            "size_cv": float(sizes.std() / max(sizes.mean(), 1 / len(sizes))),
            "effective_workers": float(sizes.sum() ** 2 / max(1.0, float(sizes @ sizes))),
        }


COLUMNS = {
    "label_tv": "total variation between the labels of the shard and of all",
    "hellinger": "Hellinger distance between the labels of the shard and of all",
    "effective_classes": "exponential of the entropy of the labels",
    "missing_classes": "fraction of the classes missing in the shard",
}
"""Descriptions of the arrays of a Skew with one number a worker, by name."""


def measure(labels: NDArray[np.int64], shards: Sequence[NDArray[np.int64]]) -> Skew:
    """Measure the skew of these shards.

    labels: (n,) int64, >= 0, the class of every sample. shards: W >= 1 arrays of sample indices,
    (n_k,) int64; they may overlap or be empty. Raises ValueError for zero shards.
    """
    if len(shards) == 0:
        raise ValueError("skew needs at least one shard, got 0")
    classes = int(labels.max()) + 1 if labels.size else 0
    sizes = np.array([len(shard) for shard in shards], np.int64)
    place = np.repeat(np.arange(len(shards)) * classes, sizes) + labels[np.concatenate(shards)]
    counts = np.bincount(place, minlength=len(shards) * classes).reshape(len(shards), classes)
    return of_counts(counts.astype(np.int64, copy=False))


def of_counts(counts: NDArray[np.int64]) -> Skew:
    """Measure the skew of shards by their samples of each class: counts is (W, C) int64."""
    sizes = counts.sum(axis=1)
    share, whole = label_shares(counts)
    filled = sizes > 0
    hellinger = np.sqrt(((np.sqrt(share) - np.sqrt(whole)) ** 2).sum(axis=1) / 2)
    missing = (counts[:, whole > 0] == 0).mean(axis=1) if whole.any() else np.ones(len(counts))
    return Skew(
        counts,
        sizes,
        label_tv=np.where(filled, np.abs(share - whole).sum(axis=1) / 2, 1.0),
        hellinger=np.where(filled, np.minimum(hellinger, 1.0), 1.0),
        effective_classes=np.where(filled, np.exp(_entropy(share)), 0.0),
        missing_classes=missing,
        label_js=normalised_js(counts),
    )


def label_shares(
    counts: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return pi_k, (W, C) float64, 0 for an empty shard, and pi, (C,) float64, of counts (W, C)."""
    sizes = counts.sum(axis=1)
    # max(n_k, 1) leaves the shares of an empty shard at zero instead of 0 / 0.
    share = counts / np.maximum(sizes, 1)[:, np.newaxis]
    return share, counts.sum(axis=0) / max(int(sizes.sum()), 1)


def normalised_js(counts: NDArray[np.int64]) -> float:
    """Return (H(pi) - sum_k (n_k / n) H(pi_k)) / min(log W, log C'), or 0 instead of 0 / 0.

    counts: (W, C) int64.
    """
    share, whole = label_shares(counts)
    states = min(len(counts), int(np.count_nonzero(whole)))
    if states < 2:
        return 0.0
    weights = counts.sum(axis=1) / counts.sum()
    js = float(_entropy(whole) - weights @ _entropy(share)) / math.log(states)
    return min(max(js, 0.0), 1.0)  # rounding can exceed either end by an ulp


def gini(sizes: NDArray[np.float64]) -> float:
    """Return the Gini coefficient, sum_ij |n_i - n_j| / (2 W n), of sizes (W,); 0 if all are 0."""
    total = float(sizes.sum())
    if not total:
        return 0.0
    rank = np.arange(1, len(sizes) + 1)
    return float((2 * rank - len(sizes) - 1) @ np.sort(sizes) / (len(sizes) * total))


def _entropy(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the entropy in nats along the last axis, with 0 log 0 = 0."""
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    entropy: NDArray[np.float64] = -(shares * logs).sum(axis=-1)
    return entropy


def neighbourhood_tv(
    counts: NDArray[np.int64], source: NDArray[np.int64], target: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the total variation between the labels of each neighbourhood and of all: (W,) float64.

    counts: (W, C) int64. source, target: (E,) int64, worker source[e] sends to target[e]; links may
    repeat. The neighbourhood of a worker is itself and all its in-neighbours. The values are in [0,
    1]; a neighbourhood without samples counts as 1.
    """
    from scipy.sparse import coo_array

    workers = np.arange(len(counts))
    to, of = np.concatenate([target, workers]), np.concatenate([source, workers])
    hears = coo_array((np.ones(len(to), np.int64), (to, of)), shape=(len(counts),) * 2).tocsr()
    hears.data[:] = 1  # repeated links count once
    share, _ = label_shares(hears @ counts)
    _, whole = label_shares(counts)
    tv = np.abs(share - whole).sum(axis=1) / 2
    return np.where(share.any(axis=1), tv, 1.0)


DIRECTIONS, LEVELS = 16, 64
ROUNDING = 1e-12
"""Spread, relative to the largest projection, below which it is a rounding error of float64."""


def directions(features: int, count: int = DIRECTIONS) -> NDArray[np.float64]:
    """Return random unit vectors, (f, P) float64, the same in every run."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((features, count))
    unit: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=0)
    return unit


def quantiles(features: NDArray[np.floating], along: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the quantile functions of the projections at mid-levels (q + 1/2) / Q: (Q, P) float64.

    features: (m, f), finite; along: (f, P), see directions. NaN without samples.
    """
    if not len(features):
        return np.full((LEVELS, along.shape[1]), np.nan)
    levels = (np.arange(LEVELS) + 0.5) / LEVELS
    projected = np.sort(features.astype(np.float64) @ along, axis=0)
    # The generalised inverse of the distribution function: a sample's value, not interpolated.
    return projected[np.ceil(levels * len(projected)).astype(np.int64) - 1]


def distances(by_worker: NDArray[np.float64], sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the distance of each worker from the mixture of all, (W,) float64, >= 0.

    by_worker: (W, Q, P), see quantiles; sizes: (W,) int64, samples of each worker, its weight in
    the mixture. 0 if no feature varies. NaN for an empty shard, which has no weight.
    """
    result = np.full(len(by_worker), np.nan)
    filled = sizes > 0
    if filled.any():
        shards, weights = by_worker[filled], sizes[filled]
        distance = np.abs(shards - mixture(shards, weights)).mean(axis=(1, 2))
        width = spread(shards, weights)
        result[filled] = distance / width if width > ROUNDING * np.abs(shards).max() else 0.0
    return result


def mixture(by_worker: NDArray[np.float64], sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the quantile functions of all samples together at the same levels: (Q, P) float64.

    by_worker: (W, Q, P); sizes: (W,) int64, > 0.
    """
    _, levels, count = by_worker.shape
    # In units of 1 / (2 Q n) shares and levels are whole numbers: comparisons are exact, so that
    # the result does not depend on the order of the workers.
    shares = np.repeat(2 * sizes, levels)
    marks = (2 * np.arange(levels) + 1) * sizes.sum()
    result = np.empty((levels, count))
    for p in range(count):
        values = by_worker[:, :, p].ravel()
        order = np.argsort(values)
        result[:, p] = values[order[np.searchsorted(np.cumsum(shares[order]), marks)]]
    return result


def spread(by_worker: NDArray[np.float64], sizes: NDArray[np.int64]) -> float:
    """Return the root mean square over the directions of the standard deviation of all samples.

    by_worker: (W, Q, P); sizes: (W,) int64, > 0.
    """
    mean = np.average(by_worker.mean(axis=1), axis=0, weights=sizes)
    variance = np.average(((by_worker - mean) ** 2).mean(axis=1), axis=0, weights=sizes)
    return float(np.sqrt(variance.mean()))
