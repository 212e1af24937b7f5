"""Label skew by a Dirichlet draw for each class.

Yurochkin, Agarwal, Ghosh, Greenewald, Hoang, Khazaeni, "Bayesian Nonparametric Federated
Learning of Neural Networks", ICML 2019, section 4 (the heterogeneous partition).
Symbols: W workers (the paper's J batches), c a class of n_c samples, q its shares (the paper's
p_k), alpha the concentration (0.5 in the paper).

Departs from the paper: (1) a cut that falls inside a sample is rounded at random, so that a
worker expects exactly q_k n_c samples of a class: rounding down would favour the last worker,
rounding to nearest would give every class's few samples to the same workers when n_c < W;
(2) workers below min_size are topped up (step 4).
Departs from common implementations: (3) no balance rule: a worker that already holds n / W
samples still takes its share of the next class, so the order of the classes does not matter;
(4) no retry: a draw with small shards is not thrown away, which would sample another
distribution than the one named.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from partitions.placing import overlap_hint, require_parts, shards_of
from partitions.protocol import Samples

# Below this, one worker takes all of q in double precision; and E / alpha stays finite.
ALPHA_FLOOR = 1e-300


@dataclass(frozen=True)
class Dirichlet:
    """label skew: each class cut by shares drawn from Dirichlet(alpha)

    For every class c present:
      1. its n_c samples are shuffled;
      2. q ~ Dir_W(alpha);
      3. worker k takes the k-th run, cut at n_c * cumsum(q), rounded at random.
    Then, so that no worker is too small to train:
      4. a worker below min_size takes random samples, one by one, from the worker that then
         holds most (the lowest id among equals).
    Every sample is placed exactly once; shard sizes vary with q.
    """

    alpha: float = field(default=0.5, metadata={"help": "concentration; small is more skewed"})
    min_size: int = field(
        default=1,
        metadata={"help": "least samples a worker holds, moved from the largest; 0 moves none"},
    )

    def __post_init__(self) -> None:
        if not (0 < self.alpha < np.inf):
            raise ValueError(f"alpha must be a finite number > 0, got {self.alpha}")
        if self.min_size < 0:
            raise ValueError(f"min_size must be >= 0, got {self.min_size}")

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """The shard of every worker, disjoint and covering, of at least min_size samples each.

        Raises ValueError where parts * min_size exceeds the number of samples.
        """
        return shards_of(self.assign(samples, parts, rng)[0], parts)

    def assign(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], int]:
        """The owner of every sample, (n,) int64, and how many samples step 4 moved.

        The same rng state with min_size = 0 gives the owners before those moves.
        """
        require_parts(samples, parts)
        if parts * self.min_size > samples.size:
            raise ValueError(
                f"{parts} workers x min_size {self.min_size} need {parts * self.min_size}, "
                f"but there are {samples.size} samples: dirichlet:min_size=0 allows empty shards, "
                f"{overlap_hint(samples)}"
            )
        owners = np.empty(samples.size, dtype=np.int64)
        by_class = np.argsort(samples.labels, kind="stable")
        bounds = np.flatnonzero(np.diff(samples.labels[by_class])) + 1
        for members in np.split(by_class, bounds):
            shuffled = rng.permutation(members)  # 1
            q = shares(self.alpha, parts, rng)  # 2
            owners[shuffled] = np.repeat(np.arange(parts), cut(q, members.size, rng))  # 3
        return owners, top_up(owners, parts, self.min_size, rng)  # 4


def shares(alpha: float, parts: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """One draw q ~ Dir_parts(alpha): (parts,) float64, >= 0, summing to 1, for any alpha > 0.

    q is a normalised vector of Gamma(alpha) draws, each taken as Gamma(alpha + 1) * U^(1 / alpha)
    in logarithms: below alpha of about 1e-2 the draws themselves underflow, all W at once.
    """
    gamma = rng.standard_gamma(alpha + 1.0, parts) + np.finfo(np.float64).tiny  # log(0) is no share
    exponential = rng.standard_exponential(parts)  # -log U
    log_q = np.log(gamma) - exponential / max(alpha, ALPHA_FLOOR)
    q: NDArray[np.float64] = np.exp(log_q - log_q.max())
    q /= q.sum()
    return q


def cut(q: NDArray[np.float64], n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """How many of n samples each share of q takes: (W,) int64, summing to n, mean q * n.

    q: (W,) float64, shares.  One offset in [0, 1) rounds every cut, so each count is q * n
    rounded up or down (systematic sampling).
    """
    ends = np.cumsum(q)
    cuts = np.floor(ends / ends[-1] * n + rng.random()).astype(np.int64)
    # n + offset can round up to n + 1 in floating point.
    counts: NDArray[np.int64] = np.diff(np.minimum(cuts, n), prepend=0)
    return counts


def top_up(owners: NDArray[np.int64], parts: int, min_size: int, rng: np.random.Generator) -> int:
    """The number of samples moved so that every worker holds min_size.

    owners: (n,) int64, the worker of each sample, updated in place; n >= parts * min_size.
    Takes from the largest one by one, but counts the takings first (taken_from_largest), then
    draws that many samples of each giver and deals them to the short workers at random.
    Draws nothing where nothing is short.
    """
    sizes = np.bincount(owners, minlength=parts)
    short = np.maximum(min_size - sizes, 0)
    moves = int(short.sum())
    if moves == 0:
        return 0
    gives = taken_from_largest(sizes, moves)
    shuffled = rng.permutation(owners.size)
    grouped = shuffled[np.argsort(owners[shuffled], kind="stable")]  # by owner, in random order
    rank = np.arange(owners.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    moved = grouped[rank < np.repeat(gives, sizes)]
    owners[rng.permutation(moved)] = np.repeat(np.arange(parts), short)
    return moves


def taken_from_largest(sizes: NDArray[np.int64], moves: int) -> NDArray[np.int64]:
    """What each worker gives when the largest gives one sample, `moves` times over.

    sizes: (W,) int64, with moves <= sizes.sum().  Returns (W,) int64, summing to moves.
    The order does not change the totals: the tops are cut to one level, found by bisection, and
    the moves left over take one more from the lowest ids at that level.
    """
    low, high = 0, int(sizes.max())
    while low < high:
        level = (low + high) // 2
        if np.maximum(sizes - level, 0).sum() <= moves:
            high = level
        else:
            low = level + 1
    gives = np.maximum(sizes - low, 0)
    gives[np.flatnonzero(sizes >= low)[: moves - int(gives.sum())]] += 1
    return gives
