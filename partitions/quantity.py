"""Shards that differ in size alone."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from partitions.amounts import LAWS, amounts, check
from partitions.placing import require_enough
from partitions.protocol import Samples


@dataclass(frozen=True)
class Quantity:
    """quantity skew: random samples in numbers that follow a law

    The laws and their parameters are those of partitions.amounts.  With `sizes` the shards are as
    large as it says, or in these proportions where their sum is not n.  Disjoint and covering.
    """

    law: str = field(
        default="dirichlet", metadata={"help": "how sizes are spread", "choices": tuple(LAWS)}
    )
    parameter: float = field(
        default=0.0,
        metadata={"help": "alpha, sigma, rate, exponent or part of the law; 0: its default"},
    )
    min_size: int = field(default=1, metadata={"help": "least samples a worker holds"})
    sizes: str = field(
        default="", metadata={"help": "sizes by worker, as in 500/200/100, instead of a law"}
    )

    def __post_init__(self) -> None:
        check(self.law, self.parameter)
        if self.min_size < 0:
            raise ValueError(f"min_size must be >= 0, got {self.min_size}")
        try:
            given = [int(size) for size in self.sizes.split("/") if self.sizes]
        except ValueError:
            given = [-1]
        if any(size < 0 for size in given) or (given and not any(given)):
            raise ValueError(
                f"sizes must be whole numbers >= 0 as in 500/200/100, not all 0, got {self.sizes!r}"
            )

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """The shard of every worker.

        Raises ValueError for fewer samples than workers, or sizes of another number of workers.
        """
        require_enough(samples, parts)
        if self.sizes:
            ends = np.cumsum(self._given(samples.size, parts))
        else:
            laid = amounts(self.law, self.parameter, samples.size, parts, self.min_size, rng)
            ends = np.cumsum(laid)
        runs = np.split(rng.permutation(samples.size), ends[:-1])
        return [np.sort(run).astype(np.int64, copy=False) for run in runs]

    def _given(self, n: int, parts: int) -> NDArray[np.int64]:
        from partitions.sizes import apportioned

        given = np.array(self.sizes.split("/"), np.float64)
        if len(given) != parts:
            raise ValueError(f"sizes has {len(given)} entries, there are {parts} workers")
        return apportioned(given, n, 0)
