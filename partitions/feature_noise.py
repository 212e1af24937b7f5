"""Inputs with noise that grows from worker to worker.

Li, Diao, Chen, He, "Federated Learning on Non-IID Data Silos: An Experimental Study", ICDE 2022
(noise-based feature imbalance).  Symbols: W workers, sigma the noise of the last worker.

Departs from the paper: (1) sigma (k + 1) / W is the standard deviation of worker k's noise; the
paper writes Gau(sigma k / W) and its code takes the value as a standard deviation; (2) any split
can stand below the noise, not the even one alone.
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
        noise = self.sigma * (worker + 1) / parts * rng.standard_normal(inputs.shape)
        return (inputs + noise).astype(inputs.dtype), labels
