"""Quantity skew: shards that differ in size alone."""

import re
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from partitions.placing import require_enough
from partitions.protocol import Needs, Partition, Samples
from partitions.sizes import LAWS, amounts, apportion, check

FORM = re.compile(r"[0-9]{1,15}(/[0-9]{1,15})*")
"""Form of explicit sizes; whole numbers of up to 15 digits are exact in float64."""


@dataclass(frozen=True)
class Quantity(Partition):
    """Quantity skew: random samples in numbers that follow a law.

    The laws and their parameters are those of partitions.sizes. The option `sizes` gives explicit
    sizes, or their proportions if they do not sum to n; a worker of size 0 gets no sample. Disjoint
    and covering.
    """

    law: str = field(
        default="dirichlet", metadata={"help": "law of the sizes", "choices": tuple(LAWS)}
    )
    parameter: float = field(
        default=0.0,
        metadata={"help": "alpha, sigma, rate, exponent or fraction of the law; 0: its default"},
    )
    min_size: int = field(default=1, metadata={"help": "minimum number of samples of a worker"})
    sizes: str = field(
        default="", metadata={"help": "sizes by worker, as in 500/200/100, instead of a law"}
    )

    def __post_init__(self) -> None:
        check(self.law, self.parameter)
        if self.min_size < 0:
            raise ValueError(f"min_size must be >= 0, got {self.min_size}")
        if not self.sizes:
            return
        if not FORM.fullmatch(self.sizes) or not self._explicit().any():
            raise ValueError(
                f"sizes must be whole numbers >= 0 as in 500/200/100, not all 0, got {self.sizes!r}"
            )
        if (self.law, self.parameter, self.min_size) != ("dirichlet", 0, 1):
            raise ValueError(
                f"sizes={self.sizes} replaces the law: leave law, parameter and min_size out"
            )

    @property
    def needs(self) -> Needs:
        """Declare min_size as the minimum size of a shard."""
        return Needs(min_size=self.min_size)

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """Return the shard of every worker.

        Raises ValueError for fewer samples than workers, or sizes of another number of workers.
        """
        require_enough(samples, parts)
        if self.sizes:
            explicit = self._explicit()
            if len(explicit) != parts:
                raise ValueError(
                    f"sizes has {len(explicit)} entries, there are {parts} workers: give a size "
                    f"for every worker, or {len(explicit)} workers"
                )
            sizes = apportion(explicit, samples.size, 0)
        else:
            sizes = amounts(self.law, self.parameter, samples.size, parts, self.min_size, rng)
        runs = np.split(rng.permutation(samples.size), np.cumsum(sizes)[:-1])
        return [np.sort(run).astype(np.int64, copy=False) for run in runs]

    def _explicit(self) -> NDArray[np.float64]:
        return np.array([float(size) for size in self.sizes.split("/")])
