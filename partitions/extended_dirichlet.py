"""Label skew by a number of classes for each worker and Dirichlet shares of them.

Li, Lyu, "Convergence Analysis of Sequential Federated Learning on Heterogeneous Data", NeurIPS 2023
(extended Dirichlet, ExDir(C, alpha)).  Symbols: k the classes of a worker (the paper's C), alpha.

Departs from the paper: (1) classes are dealt in turn and at random, see counts.owned, where the
paper balances owners per class; a class without an owner gets one; (2) workers below min_size are
topped up.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from partitions.counts import class_sizes, dealt, owned
from partitions.placing import require_enough
from partitions.protocol import Samples
from partitions.sizes import ALPHA_FLOOR
from partitions.transport import columnwise


@dataclass(frozen=True)
class ExtendedDirichlet:
    """label skew: k classes to each worker, each class cut by Dirichlet(alpha)

      1. worker i holds class i mod C and k - 1 random others;
      2. each class is cut between its owners by q ~ Dir(alpha);
      3. a worker left without a sample takes one from the largest.
    Disjoint and covering; sizes vary with q.
    """

    k: int = field(default=3, metadata={"help": "classes of a worker"})
    alpha: float = field(default=1.0, metadata={"help": "concentration; small is more skewed"})

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be >= 1, got {self.k}")
        if not 0 < self.alpha < np.inf:
            raise ValueError(f"alpha must be a finite number > 0, got {self.alpha}")

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """The shard of every worker. Raises ValueError for fewer samples than workers."""
        require_enough(samples, parts)
        sizes = class_sizes(samples)
        held = owned(parts, len(sizes), self.k, "random", rng)  # 1
        # Gamma(alpha) draws in logarithms, as in sizes.dirichlet, of the owners alone.
        logs = np.log(rng.standard_gamma(self.alpha + 1, held.shape))
        logs -= rng.standard_exponential(held.shape) / max(self.alpha, ALPHA_FLOOR)
        logs[~held] = -np.inf
        shares = np.exp(logs - logs.max(0))
        return dealt(samples, columnwise(shares, sizes, rng), rng, min_size=1)  # 2, 3
