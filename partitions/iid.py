"""Shards drawn uniformly at random, independent of labels and features."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from partitions.placing import require_enough, require_parts
from partitions.protocol import Partition, Samples


@dataclass(frozen=True)
class IID(Partition):
    """Uniform shards: disjoint, or with size drawn by every worker for itself.

    size = 0: one permutation of the n samples is cut into W runs; the shards are disjoint and cover
    the data, and their sizes differ by at most 1.

    size = s > 0: every worker draws s distinct samples of its own. The shards of different workers
    OVERLAP, and samples drawn by no worker are left out. This serves more workers than samples,
    with W * s indices in memory.

    Departs from its source: none; this is the IID control of every federated study.
    """

    size: int = field(
        default=0,
        metadata={"help": "samples that each worker draws, with overlap; 0 cuts disjoint shards"},
    )

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError(f"size must be >= 0, got {self.size}")

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """Return the shard of every worker; disjoint and covering only for size = 0.

        Raises ValueError if a worker would be empty, or draws more samples than there are.
        """
        require_parts(samples, parts)
        n = samples.size
        if self.size > n:
            raise ValueError(
                f"size must be at most the number of samples, {n}, got {self.size}: "
                f"a worker draws no sample twice; iid:size={n} gives every worker all of them"
            )
        if self.size > 0:
            # choice() costs O(size), or O(n) if size is a large part of n, and never (W, n) keys.
            draws = (rng.choice(n, self.size, replace=False, shuffle=False) for _ in range(parts))
            return [np.sort(draw) for draw in draws]
        require_enough(samples, parts)
        return [np.sort(run) for run in np.array_split(rng.permutation(n), parts)]
