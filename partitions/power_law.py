"""Few classes and log-normal shares of them for each worker.

Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith, "Federated Optimization in Heterogeneous Networks",
MLSys 2020 (FedProx): two digits a device, and sizes that follow a power law, which its program
draws log-normal with mu = 0 and sigma = 2.  Symbols: s_ic the draw of worker i for class c.

Departs from the program: (1) every sample is placed; (2) what a worker has less than min_size is
taken from the largest, where each worker starts with five samples of each of its classes; (3) any
number of workers: a class without an owner (W + k <= C) gets one.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from partitions.counts import class_sizes, dealt, owned
from partitions.placing import require_enough
from partitions.protocol import Samples
from partitions.sizes import softmax
from partitions.transport import columnwise

LARGEST = 1e300
"""Of sigma: the largest draw takes all long before, and no logarithm overflows."""


@dataclass(frozen=True)
class PowerLaw:
    """label and quantity skew: k classes and a log-normal size to each worker

      1. worker i holds the classes (i + j) mod C, j < k, and draws s_ic ~ exp(N(0, sigma^2));
      2. each class is divided between its owners in proportion to s;
      3. a worker below min_size, or n / W where that is less, takes samples from the largest.
    Disjoint and covering.
    """

    k: int = field(default=2, metadata={"help": "classes of a worker"})
    sigma: float = field(default=2.0, metadata={"help": "spread of the logarithm of the sizes"})
    min_size: int = field(
        default=5, metadata={"help": "least samples a worker holds; 0 allows empty shards"}
    )

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be >= 1, got {self.k}")
        if not 0 <= self.sigma < np.inf:
            raise ValueError(f"sigma must be a finite number >= 0, got {self.sigma}")
        if self.min_size < 0:
            raise ValueError(f"min_size must be >= 0, got {self.min_size}")

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """The shard of every worker. Raises ValueError for fewer samples than workers."""
        require_enough(samples, parts)
        sizes = class_sizes(samples)
        held = owned(parts, len(sizes), self.k, "deterministic", rng)
        logs = min(self.sigma, LARGEST) * rng.standard_normal(held.shape)  # 1
        counts = columnwise(softmax(np.where(held, logs, -np.inf).T).T, sizes, rng)  # 2
        return dealt(samples, counts, rng, min(self.min_size, samples.size // parts))  # 3
