"""Label skew by a number of classes for each worker.

Li, Diao, Chen, He, "Federated Learning on Non-IID Data Silos: An Experimental Study", ICDE 2022
(quantity-based label imbalance, #C = k).

Departs from the paper: (1) a class that no worker was given (W k < C) goes to a worker in turn, as
one more, instead of being dropped; (2) remainders of a class go to random owners.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from partitions.counts import class_sizes, dealt, owned
from partitions.placing import require_enough
from partitions.protocol import Samples
from partitions.transport import columnwise

ASSIGNS = ("random", "deterministic")


@dataclass(frozen=True)
class Classes:
    """label skew: k classes a worker, each shared evenly by its owners

      1. worker i holds class i mod C and k - 1 others: random ones, or the next in order;
      2. each class is divided evenly between its owners;
      3. a worker left without a sample (classes of fewer samples than owners) takes one from the
         largest.
    Disjoint and covering.
    """

    k: int = field(default=2, metadata={"help": "classes of a worker"})
    assign: str = field(
        default="random", metadata={"help": "how the others are chosen", "choices": ASSIGNS}
    )

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be >= 1, got {self.k}")
        if self.assign not in ASSIGNS:
            raise ValueError(f"assign must be one of {', '.join(ASSIGNS)}, got {self.assign!r}")

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """The shard of every worker. Raises ValueError for fewer samples than workers."""
        require_enough(samples, parts)
        sizes = class_sizes(samples)
        held = owned(parts, len(sizes), self.k, self.assign, rng)  # 1
        counts = columnwise(held.astype(np.float64), sizes, rng)  # 2
        return dealt(samples, counts, rng, min_size=1)  # 3
