"""How different the shards are: sizes, label distances, and one number in [0, 1].

Symbols: n_k samples in shard k, n their sum, pi_k the label shares of shard k, pi those of all
shards together (a sample counts once for each shard that holds it), H the entropy in nats.

  label_tv[k]  total variation, sum_c |pi_k,c - pi_c| / 2
  label_js     generalised Jensen-Shannon divergence: Lin, "Divergence Measures Based on the
               Shannon Entropy", IEEE Transactions on Information Theory 37(1), 1991, with
               weights n_k / n; it equals the mutual information I(worker; label)

Departs from the source: (1) label_js is divided by min(log W, log C'), C' the classes present,
which bounds it by 1: each worker a class of its own, or each class a worker of its own.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Skew:
    """The skew of W shards over C classes.

    counts: (W, C) int64, samples of each class in each shard.
    sizes: (W,) int64, samples in each shard.
    label_tv: (W,) float64 in [0, 1].  An empty shard counts as 1: total variation is one minus
    the overlap sum_c min(pi_k,c, pi_c), and an empty shard overlaps nothing.
    label_js: in [0, 1]; 0 where there is one worker or one class.  An empty shard weighs 0.
    """

    counts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    label_tv: NDArray[np.float64]
    label_js: float

    def __post_init__(self) -> None:
        if self.counts.ndim != 2 or len(self.counts) == 0:
            raise ValueError(f"counts must be (W, C) with W >= 1, got shape {self.counts.shape}")
        for name in ("sizes", "label_tv"):
            shape = getattr(self, name).shape
            if shape != (len(self.counts),):
                raise ValueError(f"{name} must be ({len(self.counts)},), got shape {shape}")
        if not 0.0 <= self.label_js <= 1.0:
            raise ValueError(f"label_js must be in [0, 1], got {self.label_js}")

    def summary(self) -> dict[str, float]:
        """The scalars worth a column in a table; every worker weighs the same in label_tv_mean."""
        return {
            "label_tv_mean": float(self.label_tv.mean()),
            "label_tv_max": float(self.label_tv.max()),
            "label_js": self.label_js,
            "size_min": int(self.sizes.min()),
            "size_median": float(np.median(self.sizes)),
            "size_max": int(self.sizes.max()),
        }


def measure(labels: NDArray[np.int64], shards: Sequence[NDArray[np.int64]]) -> Skew:
    """The skew of these shards.

    labels: (n,) int64, >= 0, the class of every sample.
    shards: W >= 1 arrays of sample indices, (n_k,) int64; they may overlap or be empty.
    Raises ValueError where there is no shard.
    """
    if len(shards) == 0:
        raise ValueError("skew needs at least one shard, got 0")
    classes = int(labels.max()) + 1 if labels.size else 0
    counts = np.stack([np.bincount(labels[shard], minlength=classes) for shard in shards])
    counts = counts.astype(np.int64, copy=False)
    sizes = counts.sum(axis=1)
    # max(n_k, 1) leaves the shares of an empty shard at zero instead of 0 / 0.
    share = counts / np.maximum(sizes, 1)[:, np.newaxis]
    whole = counts.sum(axis=0) / max(int(sizes.sum()), 1)
    label_tv = np.where(sizes > 0, np.abs(share - whole).sum(axis=1) / 2, 1.0)
    return Skew(counts, sizes, label_tv, _normalised_js(share, whole, sizes))


def _normalised_js(
    share: NDArray[np.float64], whole: NDArray[np.float64], sizes: NDArray[np.int64]
) -> float:
    """(H(pi) - sum_k (n_k / n) H(pi_k)) / min(log W, log C'), or 0 where that is 0 / 0.

    share: (W, C) float64, pi_k; whole: (C,) float64, pi; sizes: (W,) int64, n_k.
    """
    states = min(len(sizes), int(np.count_nonzero(whole)))
    if states < 2:
        return 0.0
    weights = sizes / sizes.sum()
    js = float(_entropy(whole) - weights @ _entropy(share)) / math.log(states)
    return min(max(js, 0.0), 1.0)  # rounding can step over either end by an ulp


def _entropy(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """The entropy in nats along the last axis, with 0 log 0 = 0."""
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    entropy: NDArray[np.float64] = -(shares * logs).sum(axis=-1)
    return entropy
