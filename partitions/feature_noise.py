"""Inputs with noise that grows from worker to worker.

Li, Diao, Chen, He, "Federated Learning on Non-IID Data Silos: An Experimental Study", ICDE 2022
(noise-based feature imbalance).  Symbols: W workers, sigma the noise of the last worker.

Departs from the paper: (1) worker k = 0 .. W - 1 has the standard deviation sigma (k + 1) / W; the
paper calls the parameter of Gau(sigma i / N), i = 1 .. N, the variance, while its code takes
sigma k / (W - 1) as the standard deviation, which its sigma = 0.1 is meant for; (2) a sample gets
its noise once, not anew at every visit; (3) what is held out gets none; (4) any split can stand
below the noise, not the even one alone.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from partitions.based import Based


@dataclass(frozen=True)
class FeatureNoise(Based):
    """covariate shift: worker k adds normal noise of sigma (k + 1) / W

    The split is that of `base`; every worker sees its own version of a sample.
    """

    sigma: float = field(default=0.1, metadata={"help": "standard deviation for the last worker"})

    def __post_init__(self) -> None:
        if not 0 <= self.sigma < np.inf:
            raise ValueError(f"sigma must be a finite number >= 0, got {self.sigma}")

    def alter(
        self,
        worker: int,
        parts: int,
        inputs: NDArray[np.floating],
        labels: NDArray[np.int64],
        classes: int,
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
        """Noisy inputs, the labels as they are."""
        # Drawn in float64 for every dtype, so that runs in float32 and float64 see the same noise.
        seen = rng.standard_normal(inputs.shape)
        seen *= self.sigma * (worker + 1) / parts
        seen += inputs
        return seen.astype(inputs.dtype, copy=False), labels
