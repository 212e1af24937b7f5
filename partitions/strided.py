"""Samples dealt in turn: sample i to worker i mod W.

This is the sampler of most distributed data loaders. Departs from them: (1) no sample is repeated
or dropped to make shards equal; (2) neighbours can stay together in blocks.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from partitions.placing import overlap_hint, require_parts, shards_of
from partitions.protocol import Partition, Samples


@dataclass(frozen=True)
class Strided(Partition):
    """Samples dealt in turn: worker (i // block) mod W gets sample i.

    Sizes differ by at most one block; draws nothing. The skew is that of the order of the data.
    """

    block: int = field(default=1, metadata={"help": "neighbouring samples kept together"})

    def __post_init__(self) -> None:
        if self.block < 1:
            raise ValueError(f"block must be >= 1, got {self.block}")

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """Return the shards, disjoint and covering.

        Raises ValueError if a worker would be empty.
        """
        require_parts(samples, parts)
        if (parts - 1) * self.block >= samples.size:
            raise ValueError(
                f"{parts} workers but {samples.size} samples in blocks of {self.block}: workers "
                f"would be empty; a smaller block fits, or {overlap_hint(samples)}"
            )
        return shards_of(np.arange(samples.size) // self.block % parts, parts)
