"""Few classes and log-normal sizes for each worker.

Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith, "Federated Optimization in Heterogeneous Networks",
MLSys 2020 (FedProx): two digits a device, sizes that follow a power law, drawn log-normal in its
code.

Departs from the paper: (1) every sample is placed: a class is divided between its owners in
proportion to their log-normal draws, so sizes follow the draws only as far as the classes allow;
(2) a class without an owner gets one; (3) workers below min_size are topped up.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from partitions.counts import class_sizes, dealt, owned
from partitions.placing import require_enough
from partitions.protocol import Samples
from partitions.transport import columnwise


@dataclass(frozen=True)
class PowerLaw:
    """label and quantity skew: k classes and a log-normal size to each worker

      1. worker i holds class i mod C and k - 1 random others, and draws s_i ~ exp(N(0, sigma^2));
      2. each class is divided between its owners in proportion to s;
      3. a worker below min_size, or n / W where that is less, takes samples from the largest.
    Disjoint and covering.
    """

    k: int = field(default=2, metadata={"help": "classes of a worker"})
    sigma: float = field(default=2.0, metadata={"help": "spread of the logarithm of the sizes"})
    min_size: int = field(default=5, metadata={"help": "least samples a worker holds"})

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
        held = owned(parts, len(sizes), self.k, "random", rng)
        drawn = np.exp(self.sigma * rng.standard_normal(parts))  # 1
        counts = columnwise(np.where(held, drawn[:, np.newaxis], 0.0), sizes, rng)  # 2
        return dealt(samples, counts, rng, min(self.min_size, samples.size // parts))  # 3
