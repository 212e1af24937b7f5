"""Label skew by a number of classes for each worker: even, Dirichlet or log-normal shares of them.

Classes: Li, Diao, Chen, He, "Federated Learning on Non-IID Data Silos: An Experimental Study", ICDE
2022 (quantity-based label imbalance, #C = k). Departs from the paper: (1) a class without an owner
(W k < C) goes to one worker in turn instead of being dropped; (2) remainders of a class go to
random owners.

ExtendedDirichlet: Li, Lyu, "Convergence Analysis of Sequential Federated Learning on Heterogeneous
Data", NeurIPS 2023 (extended Dirichlet, ExDir(C, alpha)). Symbols: k the classes of a worker (the
paper's C), alpha the concentration, q the shares of a class. Departs from the authors' program: (1)
worker i starts with class i mod C, which gives every class about as many owners, while the program
redraws the classes of all workers until each class has half of that; a class without an owner gets
one; (2) cuts are rounded at random; (3) workers below min_size are topped up, while the program
redraws all shares until no worker has less than ten samples.

PowerLaw: Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith, "Federated Optimization in Heterogeneous
Networks", MLSys 2020 (FedProx): two digits a device, and sizes that follow a power law, which its
program draws log-normal with mu = 0 and sigma = 2. Symbols: s_ic the draw of worker i for class c.
Departs from the program: (1) every sample is placed; (2) workers below min_size are topped up from
the largest, while each worker of the program starts with five samples of each of its classes; (3)
any number of workers: a class without an owner (W + k <= C) gets one.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from partitions.placing import require_enough
from partitions.protocol import Needs, Partition, Samples
from partitions.sizes import log_gamma, softmax
from partitions.transport import class_owners, class_sizes, deal, divide_columns

ASSIGNS = ("random", "deterministic")


@dataclass(frozen=True)
class Classes(Partition):
    """Label skew: k classes a worker, each shared evenly by its owners.

      1. worker i owns class i mod C and k - 1 others: random ones, or the next in order;
      2. each class is divided evenly between its owners;
      3. a worker left without a sample (classes of fewer samples than owners) takes one from the
         largest shard.
    Disjoint and covering.
    """

    k: int = field(default=2, metadata={"help": "classes of a worker"})
    assign: str = field(
        default="random", metadata={"help": "choice of the other classes", "choices": ASSIGNS}
    )

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be >= 1, got {self.k}")
        if self.assign not in ASSIGNS:
            raise ValueError(f"assign must be one of {', '.join(ASSIGNS)}, got {self.assign!r}")

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """Return the shard of every worker. Raises ValueError for fewer samples than workers."""
        require_enough(samples, parts)
        sizes = class_sizes(samples)
        owns = class_owners(parts, len(sizes), self.k, self.assign, rng)  # 1
        counts = divide_columns(owns.astype(np.float64), sizes, rng)  # 2
        return deal(samples, counts, rng, min_size=1)  # 3


@dataclass(frozen=True)
class ExtendedDirichlet(Partition):
    """Label skew: k classes a worker, each class cut by Dirichlet(alpha).

      1. worker i owns class i mod C and k - 1 random others;
      2. each class is cut between its owners by q ~ Dir(alpha);
      3. a worker below min_size takes random samples from the largest shard, one by one.
    Disjoint and covering; sizes vary with q.
    """

    k: int = field(default=3, metadata={"help": "classes of a worker"})
    alpha: float = field(default=1.0, metadata={"help": "concentration; small is more skewed"})
    min_size: int = field(default=1, metadata={"help": "minimum number of samples of a worker"})

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
        """Return the shard of every worker.

        Raises ValueError for fewer samples than workers, or than parts * min_size.
        """
        require_enough(samples, parts)
        if parts * self.min_size > samples.size:
            raise ValueError(
                f"{parts} workers x min_size {self.min_size} need {parts * self.min_size}, but "
                f"there are {samples.size} samples: min_size={samples.size // parts} fits"
            )
        sizes = class_sizes(samples)
        owns = class_owners(parts, len(sizes), self.k, "random", rng)  # 1
        logs = np.where(owns, log_gamma(self.alpha, owns.shape, rng), -np.inf)
        counts = divide_columns(softmax(logs.T).T, sizes, rng)  # 2
        return deal(samples, counts, rng, self.min_size)  # 3


LARGEST = 1e300
"""Maximum of sigma: no logarithm overflows, and the largest draw takes all samples before that."""


@dataclass(frozen=True)
class PowerLaw(Partition):
    """Label and quantity skew: k classes and a log-normal size to each worker.

      1. worker i owns the classes (i + j) mod C, j < k, and draws s_ic ~ exp(N(0, sigma^2));
      2. each class is divided between its owners in proportion to s;
      3. a worker below min_size, or below n / W if that is less, takes samples from the largest.
    Disjoint and covering.
    """

    k: int = field(default=2, metadata={"help": "classes of a worker"})
    sigma: float = field(default=2.0, metadata={"help": "spread of the logarithm of the sizes"})
    min_size: int = field(
        default=5, metadata={"help": "minimum number of samples of a worker; 0 allows empty shards"}
    )

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be >= 1, got {self.k}")
        if not 0 <= self.sigma < np.inf:
            raise ValueError(f"sigma must be a finite number >= 0, got {self.sigma}")
        if self.min_size < 0:
            raise ValueError(f"min_size must be >= 0, got {self.min_size}")

    @property
    def needs(self) -> Needs:
        """Declare min_size as the minimum size of a shard."""
        return Needs(min_size=self.min_size)

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """Return the shard of every worker. Raises ValueError for fewer samples than workers."""
        require_enough(samples, parts)
        sizes = class_sizes(samples)
        owns = class_owners(parts, len(sizes), self.k, "deterministic", rng)
        logs = min(self.sigma, LARGEST) * rng.standard_normal(owns.shape)  # 1
        counts = divide_columns(softmax(np.where(owns, logs, -np.inf).T).T, sizes, rng)  # 2
        return deal(samples, counts, rng, min(self.min_size, samples.size // parts))  # 3
