"""Splits that are renewed during training.

Assran, Loizou, Ballas, Rabbat, "Stochastic Gradient Push for Distributed Deep Learning", ICML 2019,
shuffle the data between the workers at every epoch.

Departs from the paper: (1) any scheme can be renewed, so that a worker's skew changes over time;
(2) the period need not be an epoch.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from partitions.bases import BASES, Based
from partitions.protocol import Needs, Samples


@dataclass(frozen=True)
class Reshuffle(Based):
    """Renewed split: another scheme's split drawn again at a period of epochs.

    An epoch is the number of steps in which the workers together draw as many samples as there are.
    Every rank keeps all samples. The reported skew is that of the first split.
    """

    epochs: float = field(default=1.0, metadata={"help": "epochs between two splits"})

    def __post_init__(self) -> None:
        if not 0 < self.epochs < np.inf:
            raise ValueError(f"epochs must be a finite number > 0, got {self.epochs}")
        # A worker without samples would stop the run in the middle, at any later split.
        least = self.base.needs.min_size
        if least < 1:
            raise ValueError(
                f"base must have min_size >= 1, got {least}: a later split may leave a worker empty"
            )

    @property
    def needs(self) -> Needs:
        """Declare the needs of the base and the period between two splits."""
        return replace(self.base.needs, renewal=self.epochs)

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """Return the shards of the base, drawn by this rng.

        Raises ValueError if the base draws nothing, because every split would be the same.
        """
        before = rng.bit_generator.state
        shards = super().split(samples, parts, rng)
        if rng.bit_generator.state == before:
            name = next(name for name, scheme in BASES.items() if scheme is type(self.base))
            raise ValueError(
                f"reshuffle renews a random split, and {name} draws nothing: take {name} without "
                "reshuffle, or a random base, such as iid or dirichlet"
            )
        return shards
