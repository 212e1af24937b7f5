"""Label skew by a number of classes for each worker.

Li, Diao, Chen, He, "Federated Learning on Non-IID Data Silos: An Experimental Study", ICDE 2022
(quantity-based label imbalance, #C = k).

Departs from the paper: (1) a class that no worker was given (W k < C) goes to a worker in turn, as
one more, instead of being dropped; (2) remainders of a class go to random owners.

Label skew by a number of classes for each worker and Dirichlet shares of them.

Li, Lyu, "Convergence Analysis of Sequential Federated Learning on Heterogeneous Data", NeurIPS 2023
(extended Dirichlet, ExDir(C, alpha)).  Symbols: k the classes of a worker (the paper's C), alpha
the concentration, q the shares of a class.

Departs from the authors' program: (1) worker i starts with class i mod C, which gives every class
about as many owners, where the program draws all classes of all workers again until each has half
of that; a class without an owner gets one; (2) cuts are rounded at random; (3) workers below
min_size are topped up, where the program draws all shares again until none has less than ten.

Few classes and log-normal shares of them for each worker.

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

from partitions.placing import require_enough
from partitions.protocol import Needs, Partition, Samples
from partitions.sizes import log_gamma, softmax
from partitions.transport import class_sizes, columnwise, dealt, owned

ASSIGNS = ("random", "deterministic")


@dataclass(frozen=True)
class Classes(Partition):
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


@dataclass(frozen=True)
class ExtendedDirichlet(Partition):
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


LARGEST = 1e300
"""Of sigma: the largest draw takes all long before, and no logarithm overflows."""


@dataclass(frozen=True)
class PowerLaw(Partition):
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

    @property
    def needs(self) -> Needs:
        """Bound the sizes of shards by min_size."""
        return Needs(min_size=self.min_size)

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
