"""Shards that share samples: each sample on several workers, or some samples on all.

Zhao, Li, Lai, Suda, Civin, Chandra, "Federated Learning with Non-IID Data", 2018
(arXiv:1806.00582), share a small part of the data with all workers: 5 % of it recover much of the
accuracy. Departs from the paper: (1) the shared samples are taken from the training data, not from
an extra set.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from partitions.placing import require_enough
from partitions.protocol import Partition, Samples


@dataclass(frozen=True)
class Overlap(Partition):
    """Shared samples: each on several random workers, or a common part on all.

    copies = r: every sample is on min(r, W) different workers. common = c > 0: a random fraction c
    of the samples is on every worker, the others are divided evenly. Sizes differ by at most one.
    Covering, NOT disjoint.
    """

    copies: int = field(default=2, metadata={"help": "number of workers with a sample"})
    common: float = field(
        default=0.0, metadata={"help": "fraction of the samples on all workers, instead of copies"}
    )

    def __post_init__(self) -> None:
        if self.copies < 1:
            raise ValueError(f"copies must be >= 1, got {self.copies}")
        if not 0 <= self.common <= 1:
            raise ValueError(f"common must be in [0, 1], got {self.common}")
        if self.common and self.copies != Overlap.copies:
            raise ValueError(f"common={self.common} replaces copies: leave copies out")

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """Return the shard of every worker. Raises ValueError for fewer samples than workers."""
        require_enough(samples, parts)
        shuffled = rng.permutation(samples.size)
        if self.common:
            cut = round(self.common * samples.size)
            runs = np.array_split(shuffled[cut:], parts)
            return [np.sort(np.concatenate([shuffled[:cut], run])) for run in runs]
        owners = replicas(samples.size, parts, min(self.copies, parts), rng)
        copies = owners.shape[1]
        order = np.argsort(owners.ravel(), kind="stable")
        samples_of = np.repeat(shuffled, copies)[order]
        ends = np.cumsum(np.bincount(owners.ravel(), minlength=parts))[:-1]
        return [np.sort(shard) for shard in np.split(samples_of, ends)]


def replicas(n: int, parts: int, copies: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw different workers for each of n samples, all equally often up to one: (n, copies).

    Every block of W samples draws a ring of the workers, and its j-th sample goes to `copies`
    neighbours on it from place j on: each worker comes exactly `copies` times. In a last, shorter
    block each sample continues at the end of the previous one, so that no worker is ahead by two.
    """
    block, place = np.divmod(np.arange(n), parts)
    rings = rng.permuted(np.tile(np.arange(parts), (int(block[-1]) + 1, 1)), axis=1)
    start = np.where(block < n // parts, place, place * copies)
    owners: NDArray[np.int64] = rings[
        block[:, np.newaxis], (start[:, np.newaxis] + np.arange(copies)) % parts
    ]
    return owners
