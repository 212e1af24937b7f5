"""Inputs as sensors of different gain and offset would give them: a covariate shift.

Departs from its source: none; a plain model of sensors that were not calibrated together.
Symbols: x an input, s_k and o_k the gain and offset errors of worker k.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from partitions.based import Based


@dataclass(frozen=True)
class Gain(Based):
    """covariate shift: worker k sees x (1 + s_k) + o_k, drawn for each worker

    s_k ~ N(0, spread^2), o_k ~ N(0, offset^2).  The split is that of `base`.
    """

    spread: float = field(default=0.2, metadata={"help": "standard deviation of the gains"})
    offset: float = field(default=0.0, metadata={"help": "standard deviation of the offsets"})

    def __post_init__(self) -> None:
        for name in ("spread", "offset"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name} must be a finite number >= 0, got {getattr(self, name)}")

    def alter(
        self,
        worker: int,
        parts: int,
        inputs: NDArray[np.floating],
        labels: NDArray[np.int64],
        classes: int,
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
        """Inputs through the worker's sensor, the labels as they are."""
        s, o = rng.standard_normal(2) * (self.spread, self.offset)
        return (inputs * (1 + s) + o).astype(inputs.dtype), labels
