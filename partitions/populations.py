"""Concept shift: populations of workers whose labels contradict each other.

Sattler, Müller, Samek: Clustered Federated Learning: Model-Agnostic Distributed Multitask
Optimization under Privacy Constraints, IEEE TNNLS 32(8), 2021, section VI (permuted labels).
Symbols: P populations, C classes, L classes whose labels contradict, W workers, y a label.
Departs from the paper: the permutations are rotations, y + q modulo L in population q for y < L, so
that these labels of any two populations differ, and no seed is needed.
"""

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from partitions.bases import Based


@dataclass(frozen=True)
class Populations(Based):
    """Concept shift: the workers of population q have label y + q mod C.

    A population is a range of workers, and the populations are equal to one worker unless `sizes`
    weights them. The split is that of `base`.
    """

    count: int = field(default=2, metadata={"help": "number of populations, P, at most C"})
    sizes: str = field(
        default="", metadata={"help": "weight of each population, as in 12/4; empty: equal ones"}
    )
    labels: int = field(
        default=0, metadata={"help": "classes that contradict, L, the first ones; 0: all"}
    )

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count must be >= 1, got {self.count}")
        if self.sizes and not all(x.isdecimal() and int(x) for x in self.sizes.split("/")):
            raise ValueError(f"sizes must be numbers >= 1, as in 12/4, got {self.sizes!r}")
        if len(self.weights()) != self.count:
            raise ValueError(
                f"sizes must be as many as count, {self.count}, got {len(self.weights())}: "
                f"count={len(self.weights())},sizes={self.sizes}"
            )
        if self.labels and self.labels < self.count:
            raise ValueError(
                f"labels must be 0 or at least count, {self.count}, got {self.labels}: with fewer "
                "classes two populations would have the same labels"
            )

    def weights(self) -> list[int]:
        """Return the weight of each population."""
        return [int(x) for x in self.sizes.split("/")] if self.sizes else [1] * self.count

    def population(self, worker: int, parts: int) -> int:
        """Return the population of a worker."""
        ends = list(accumulate(self.weights()))
        return bisect_right(ends, worker * ends[-1] // parts)

    def alter(
        self,
        worker: int,
        parts: int,
        inputs: NDArray[np.floating],
        labels: NDArray[np.int64],
        classes: int,
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
        """Return unchanged inputs, and the labels of the worker's population.

        Raises ValueError if there are more populations or contradicting classes than classes.
        """
        for name, value in (("count", self.count), ("labels", self.labels)):
            if value > classes:
                raise ValueError(
                    f"{name} must be at most the number of classes, {classes}, got {value}"
                )
        modulus = self.labels or classes
        rotated = (labels + self.population(worker, parts)) % modulus
        return inputs, np.where(labels < modulus, rotated, labels)
