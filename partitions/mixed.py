"""Label skew and quantity skew at once.

Li, Diao, Chen, He, "Federated Learning on Non-IID Data Silos: An Experimental Study", ICDE 2022,
mix both kinds.

Departs from the paper: (1) sizes follow any law of partitions.amounts and are kept exactly, labels
a Dirichlet draw for each worker, as in partitions.dirichlet_worker with its departures.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from partitions.amounts import LAWS, amounts, check
from partitions.dirichlet_worker import skewed
from partitions.placing import require_enough
from partitions.protocol import Samples


@dataclass(frozen=True)
class Mixed:
    """label x quantity skew: Dirichlet(alpha) labels in shards sized by a law

      1. sizes by the law, see partitions.amounts;
      2. p_k ~ Dir_C(alpha) over the classes present, for every worker;
      3. the table nearest to p with these sizes, in whole samples, as in dirichlet_worker.
    Disjoint and covering.
    """

    alpha: float = field(default=0.5, metadata={"help": "concentration; small is more skewed"})
    law: str = field(
        default="zipf", metadata={"help": "how sizes are spread", "choices": tuple(LAWS)}
    )
    parameter: float = field(
        default=0.0,
        metadata={"help": "alpha, sigma, rate, exponent or part of the law; 0: its default"},
    )
    min_size: int = field(default=1, metadata={"help": "least samples a worker holds"})

    def __post_init__(self) -> None:
        if not 0 < self.alpha < np.inf:
            raise ValueError(f"alpha must be a finite number > 0, got {self.alpha}")
        check(self.law, self.parameter)
        if self.min_size < 1:
            raise ValueError(f"min_size must be >= 1, got {self.min_size}")

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """The shard of every worker. Raises ValueError for fewer samples than workers."""
        require_enough(samples, parts)
        rows = amounts(self.law, self.parameter, samples.size, parts, self.min_size, rng)  # 1
        return skewed(samples, rows, self.alpha, rng)  # 2, 3
