"""Shards drawn uniformly at random, without regard to label or feature."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from partitions.placing import require_enough, require_parts
from partitions.protocol import Partition, Samples


@dataclass(frozen=True)
class IID(Partition):
    """uniform shards: disjoint, or with size drawn anew by every worker

    size = 0: one permutation of the n samples is cut into W runs; the shards are disjoint and
    cover the data, and their sizes differ by at most 1.
    size = s > 0: every worker draws s different samples of its own.  The shards of different
    workers OVERLAP, and samples that nobody drew are left out: the way to have more workers than
    samples, with W * s indices in memory.
    Departs from its source: none; this is the IID control of every federated study.
    """

    size: int = field(
        default=0,
        metadata={"help": "samples each worker draws, overlapping others'; 0 cuts disjoint shards"},
    )

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError(f"size must be >= 0, got {self.size}")

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """The shard of every worker; disjoint and covering only where size = 0.

        Raises ValueError where a worker would be empty, or draws more samples than there are.
        """
        require_parts(samples, parts)
        n = samples.size
        if self.size > n:
            raise ValueError(
                f"size must be at most the {n} samples there are, got {self.size}: "
                f"a worker draws no sample twice; iid:size={n} gives every worker all of them"
            )
        if self.size > 0:
            # choice() costs O(size), or O(n) where size is a fair part of n: never (W, n) keys.
            draws = (rng.choice(n, self.size, replace=False, shuffle=False) for _ in range(parts))
            return [np.sort(draw) for draw in draws]
        require_enough(samples, parts)
        return [np.sort(run) for run in np.array_split(rng.permutation(n), parts)]
