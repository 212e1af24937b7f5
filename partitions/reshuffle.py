"""A split that is drawn anew during the training.

Assran, Loizou, Ballas, Rabbat, "Stochastic Gradient Push for Distributed Deep Learning", ICML 2019,
shuffle the data between the workers at every epoch.

Departs from the paper: (1) any scheme can be renewed, so that a worker's skew changes instead of
staying; (2) the period need not be an epoch.
"""

from dataclasses import dataclass, field

import numpy as np

from partitions.based import Based


@dataclass(frozen=True)
class Reshuffle(Based):
    """the split of another scheme, drawn anew every so many epochs

    An epoch is as many steps as the workers together need for as many samples as there are.  Every
    rank holds all samples.  The skew that a run reports is that of its first split.
    """

    epochs: float = field(default=1.0, metadata={"help": "epochs between two splits"})

    def __post_init__(self) -> None:
        if not 0 < self.epochs < np.inf:
            raise ValueError(f"epochs must be a finite number > 0, got {self.epochs}")
