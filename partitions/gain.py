"""Covariate shift by the gain and offset of sensors.

Model: Balzano, Nowak, "Blind Calibration of Sensor Networks", IPSN 2007: every sensor measures with
a gain and an offset of its own. Symbols: x an input, s_k and o_k the errors of gain and offset of
worker k.

Departs from the paper: (1) one gain and one offset for all inputs of a worker; (2) both are drawn
from normal distributions.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from partitions.bases import Based


@dataclass(frozen=True)
class Gain(Based):
    """Covariate shift: worker k sees x (1 + s_k) + o_k, drawn for each worker.

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
        """Return the inputs as the worker's sensor measures them, and unchanged labels."""
        # Both are always drawn, so that neither option changes the draw of the other. As Python
        # floats they keep the dtype of the inputs.
        s, o = (rng.standard_normal(2) * (self.spread, self.offset)).tolist()
        return inputs * (1 + s) + o, labels
