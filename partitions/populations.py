"""Concept shift: populations of workers whose labels contradict each other.

Sattler, Müller, Samek: Clustered Federated Learning: Model-Agnostic Distributed Multitask
Optimization under Privacy Constraints, IEEE TNNLS 32(8), 2021, section VI (permuted labels).
Symbols: P populations, C classes, W workers, y a label.
Departs from the paper: the permutations are rotations, y + q modulo C in population q, so that all
labels of any two populations differ, and no seed is needed.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from partitions.bases import Based


@dataclass(frozen=True)
class Populations(Based):
    """Concept shift: the workers of population q have label y + q mod C.

    A population is a range of workers; their sizes differ by at most one. The split is that of
    `base`.
    """

    count: int = field(default=2, metadata={"help": "number of populations, P, at most C"})

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count must be >= 1, got {self.count}")

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

        Raises ValueError if there are more populations than classes.
        """
        if self.count > classes:
            raise ValueError(
                f"count must be at most the number of classes, {classes}, got {self.count}"
            )
        return inputs, (labels + worker * self.count // parts) % classes
