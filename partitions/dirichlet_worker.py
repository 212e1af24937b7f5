"""Label skew by a Dirichlet draw for each worker, in shards of one size or of a law of sizes.

DirichletWorker: Hsu, Qi, Brown, "Measuring the Effects of Non-Identical Data Distribution for
Federated Visual Classification", 2019 (arXiv:1909.06335). Symbols: p_k the label shares drawn for
worker k, alpha the concentration, the same for every class. Departs from the paper: (1) p_k is
symmetric, while the paper draws around the shares of the data, with alpha as their sum: the second
margin brings those in; (2) both margins, the sizes of shards and of classes, are met by the nearest
table in Kullback-Leibler divergence (partitions.transport), instead of drawing sample by sample and
redrawing when a class is exhausted, which leaves the remainders to the last workers.

Mixed: Li, Diao, Chen, He, "Federated Learning on Non-IID Data Silos: An Experimental Study", ICDE
2022, mix label and quantity skew. Departs from the paper: (1) sizes follow any law of
partitions.sizes and are met exactly, and labels are a Dirichlet draw for each worker, as above.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from partitions.placing import require_enough
from partitions.protocol import Partition, Samples
from partitions.sizes import LAWS, amounts, check, even, log_gamma
from partitions.transport import class_sizes, deal, fit_logarithms, round_table


@dataclass(frozen=True)
class DirichletWorker(Partition):
    """Label skew: Dirichlet(alpha) label shares a worker, equal sizes.

      1. p_k ~ Dir_C(alpha) over the classes present, for every worker;
      2. the table nearest to p whose rows are the sizes and whose columns are the classes;
      3. rounded to whole samples with both margins exact, drawn at random within a class.
    Disjoint and covering; sizes differ by at most one. Below alpha of about 0.001 nothing changes:
    the table is as skewed as the margins allow.
    """

    alpha: float = field(default=0.5, metadata={"help": "concentration; small is more skewed"})

    def __post_init__(self) -> None:
        if not 0 < self.alpha < np.inf:
            raise ValueError(f"alpha must be a finite number > 0, got {self.alpha}")

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """Return the shard of every worker. Raises ValueError for fewer samples than workers."""
        require_enough(samples, parts)
        return dirichlet_shards(samples, even(samples.size, parts), self.alpha, rng)


def dirichlet_shards(
    samples: Samples, sizes: NDArray[np.int64], alpha: float, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Return shards of these sizes, (W,) int64, > 0, summing to n, by the three steps."""
    columns = class_sizes(samples)
    logs = log_gamma(alpha, (len(sizes), len(columns)), rng)  # 1, up to a factor for each worker
    plan = fit_logarithms(logs, sizes, columns)  # 2
    return deal(samples, round_table(plan, sizes, columns, rng), rng)  # 3


@dataclass(frozen=True)
class Mixed(Partition):
    """Label x quantity skew: Dirichlet(alpha) labels in shards sized by a law.

      1. sizes by the law, see partitions.sizes;
      2. p_k ~ Dir_C(alpha) over the classes present, for every worker;
      3. the table nearest to p with these sizes, in whole samples, as in dirichlet_worker.
    Disjoint and covering.
    """

    alpha: float = field(default=0.5, metadata={"help": "concentration; small is more skewed"})
    law: str = field(default="zipf", metadata={"help": "law of the sizes", "choices": tuple(LAWS)})
    parameter: float = field(
        default=0.0,
        metadata={"help": "alpha, sigma, rate, exponent or fraction of the law; 0: its default"},
    )
    min_size: int = field(default=1, metadata={"help": "minimum number of samples of a worker"})

    def __post_init__(self) -> None:
        if not 0 < self.alpha < np.inf:
            raise ValueError(f"alpha must be a finite number > 0, got {self.alpha}")
        check(self.law, self.parameter)
        if self.min_size < 1:
            raise ValueError(f"min_size must be >= 1, got {self.min_size}")

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """Return the shard of every worker. Raises ValueError for fewer samples than workers."""
        require_enough(samples, parts)
        rows = amounts(self.law, self.parameter, samples.size, parts, self.min_size, rng)  # 1
        return dirichlet_shards(samples, rows, self.alpha, rng)  # 2, 3
