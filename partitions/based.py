"""What schemes that build on another one share: its split is theirs."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from partitions.bases import BASES
from partitions.iid import IID
from partitions.protocol import Partition, Samples


@dataclass(frozen=True)
class Based:
    """A scheme that separates the samples as `base` does."""

    base: Partition = field(
        default=IID(),
        kw_only=True,
        metadata={"help": "how the samples are separated", "registry": BASES},
    )

    @property
    def needs(self) -> str:
        """What the base looks at besides labels."""
        return str(getattr(self.base, "needs", ""))

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """The shards of the base, by this rng."""
        return self.base.split(samples, parts, rng)
