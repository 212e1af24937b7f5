"""Label skew by a Dirichlet draw for each class.

Yurochkin, Agarwal, Ghosh, Greenewald, Hoang, Khazaeni, "Bayesian Nonparametric Federated Learning
of Neural Networks", ICML 2019, section 4 (the heterogeneous partition).

Symbols: W workers (the paper's J batches), c a class of n_c samples, q its shares (the paper's
p_k), alpha the concentration (0.5 in the paper).

Departs from the paper: (1) a cut that falls inside a sample is rounded at random, so that a worker
expects exactly q_k n_c samples of a class: rounding down would favour the last worker, rounding to
nearest would give the few samples of every class to the same workers when n_c < W; (2) workers
below min_size are topped up (step 4).

Departs from common implementations: (3) no balance rule: a worker that already holds n / W samples
still takes its share of the next class, so the order of the classes does not matter; (4) no retry:
rejecting draws with small shards would sample another distribution than the Dirichlet.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from partitions.placing import overlap_hint, require_parts, shards_of
from partitions.protocol import Needs, Partition, Samples
from partitions.sizes import cut, shares, top_up


@dataclass(frozen=True)
class Dirichlet(Partition):
    """Label skew: each class cut by shares drawn from Dirichlet(alpha).

    For every class c present:
      1. its n_c samples are shuffled;
      2. q ~ Dir_W(alpha);
      3. worker k takes the k-th run, cut at n_c * cumsum(q), rounded at random.
    Then, so that no worker is too small to train:
      4. a worker below min_size takes random samples, one by one, from the largest shard at that
         moment (the lowest id among equals).
    Every sample is placed exactly once; shard sizes vary with q.
    """

    alpha: float = field(default=0.5, metadata={"help": "concentration; small is more skewed"})
    min_size: int = field(
        default=1,
        metadata={"help": "minimum samples of a worker, moved from the largest; 0 moves none"},
    )

    def __post_init__(self) -> None:
        if not (0 < self.alpha < np.inf):
            raise ValueError(f"alpha must be a finite number > 0, got {self.alpha}")
        if self.min_size < 0:
            raise ValueError(f"min_size must be >= 0, got {self.min_size}")

    @property
    def needs(self) -> Needs:
        """Declare min_size as the minimum size of a shard."""
        return Needs(min_size=self.min_size)

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """Return the shard of every worker, disjoint, covering, and of at least min_size samples.

        Raises ValueError if parts * min_size exceeds the number of samples.
        """
        return shards_of(self.assign(samples, parts, rng)[0], parts)

    def assign(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], int]:
        """Return the owner of every sample, (n,) int64, and the number of samples moved by step 4.

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
