"""Shards that differ in size alone."""

import re
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from partitions.placing import require_enough
from partitions.protocol import Needs, Partition, Samples
from partitions.sizes import LAWS, amounts, apportioned, check

FORM = re.compile(r"[0-9]{1,15}(/[0-9]{1,15})*")
"""Of explicit sizes; whole numbers of up to 15 digits are exact as float64."""


@dataclass(frozen=True)
class Quantity(Partition):
    """quantity skew: random samples in numbers that follow a law

    The laws and their parameters are those of partitions.sizes.  With `sizes` the shards are as
    large as it says, or in these proportions where their sum is not n; a worker whose size is 0
    holds nothing.  Disjoint and covering.
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
        if not self.sizes:
            return
        if not FORM.fullmatch(self.sizes) or not self._given().any():
            raise ValueError(
                f"sizes must be whole numbers >= 0 as in 500/200/100, not all 0, got {self.sizes!r}"
            )
        if (self.law, self.parameter, self.min_size) != ("dirichlet", 0, 1):
            raise ValueError(
                f"sizes={self.sizes} stands instead of a law: leave law, parameter and min_size out"
            )

    @property
    def needs(self) -> Needs:
        """Bound the sizes of shards by min_size."""
        return Needs(min_size=self.min_size)

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """The shard of every worker.

        Raises ValueError for fewer samples than workers, or sizes of another number of workers.
        """
        require_enough(samples, parts)
        if self.sizes:
            given = self._given()
            if len(given) != parts:
                raise ValueError(
                    f"sizes has {len(given)} entries, there are {parts} workers: give a size for "
                    f"every worker, or {len(given)} workers"
                )
            laid = apportioned(given, samples.size, 0)
        else:
            laid = amounts(self.law, self.parameter, samples.size, parts, self.min_size, rng)
        runs = np.split(rng.permutation(samples.size), np.cumsum(laid)[:-1])
        return [np.sort(run).astype(np.int64, copy=False) for run in runs]

    def _given(self) -> NDArray[np.float64]:
        return np.array([float(size) for size in self.sizes.split("/")])
