"""Label skew by a number of classes for each worker and Dirichlet shares of them.

Li, Lyu, "Convergence Analysis of Sequential Federated Learning on Heterogeneous Data", NeurIPS 2023
(extended Dirichlet, ExDir(C, alpha)).  Symbols: k the classes of a worker (the paper's C), alpha
the concentration, q the shares of a class.

Departs from the authors' program: (1) worker i starts with class i mod C, which gives every class
about as many owners, where the program draws all classes of all workers again until each has half
of that; a class without an owner gets one; (2) cuts are rounded at random; (3) workers below
min_size are topped up, where the program draws all shares again until none has less than ten.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from partitions.counts import class_sizes, dealt, owned
from partitions.placing import require_enough
from partitions.protocol import Samples
from partitions.sizes import log_gamma, softmax
from partitions.transport import columnwise


@dataclass(frozen=True)
class ExtendedDirichlet:
    """label skew: k classes to each worker, each class cut by Dirichlet(alpha)

      1. worker i holds class i mod C and k - 1 random others;
      2. each class is cut between its owners by q ~ Dir(alpha);
      3. a worker below min_size takes random samples from the largest, one by one.
    Disjoint and covering; sizes vary with q.
    """

    k: int = field(default=3, metadata={"help": "classes of a worker"})
    alpha: float = field(default=1.0, metadata={"help": "concentration; small is more skewed"})
    min_size: int = field(default=1, metadata={"help": "least samples a worker holds"})

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be >= 1, got {self.k}")
        if not 0 < self.alpha < np.inf:
            raise ValueError(f"alpha must be a finite number > 0, got {self.alpha}")
        if self.min_size < 1:
            raise ValueError(f"min_size must be >= 1, got {self.min_size}")

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """The shard of every worker.

        Raises ValueError for fewer samples than workers, or than parts * min_size.
        """
        require_enough(samples, parts)
        if parts * self.min_size > samples.size:
            raise ValueError(
                f"{parts} workers x min_size {self.min_size} need {parts * self.min_size}, but "
                f"there are {samples.size} samples: min_size={samples.size // parts} fits"
            )
        sizes = class_sizes(samples)
        held = owned(parts, len(sizes), self.k, "random", rng)  # 1
        logs = np.where(held, log_gamma(self.alpha, held.shape, rng), -np.inf)
        counts = columnwise(softmax(logs.T).T, sizes, rng)  # 2
        return dealt(samples, counts, rng, self.min_size)  # 3
