"""Noise in the inputs or in the labels that grows from worker to worker.

FeatureNoise: Li, Diao, Chen, He, "Federated Learning on Non-IID Data Silos: An Experimental Study",
ICDE 2022 (noise-based feature imbalance). Symbols: W workers, sigma the noise of the last worker.
Departs from the paper: (1) worker k = 0 .. W - 1 has the standard deviation sigma (k + 1) / W; the
paper calls the parameter of Gau(sigma i / N), i = 1 .. N, the variance, while its code takes sigma
k / (W - 1) as the standard deviation, for which its sigma = 0.1 is meant; (2) a sample gets its
noise once, not at every visit; (3) held-out samples get none, except for `bench.train --answer`;
(4) the noise can be added to any split, not to the even one alone.

LabelNoise: symmetric label noise of Patrini, Rozza, Menon, Nock, Qu, "Making Deep Neural Networks
Robust to Label Noise: A Loss Correction Approach", CVPR 2017: a label becomes each of the C - 1
others with probability rate / (C - 1). Symbols: W workers, C classes. Departs from the paper: (1)
the rate may grow from worker to worker.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from partitions.bases import Based


@dataclass(frozen=True)
class FeatureNoise(Based):
    """Covariate shift: worker k adds normal noise of sigma (k + 1) / W.

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
        """Return noisy inputs and unchanged labels."""
        # Drawn in float64 for every dtype, so that runs in float32 and float64 see the same noise.
        noisy = rng.standard_normal(inputs.shape)
        noisy *= self.sigma * (worker + 1) / parts
        noisy += inputs
        return noisy.astype(inputs.dtype, copy=False), labels


SPREADS = ("linear", "all")


@dataclass(frozen=True)
class LabelNoise(Based):
    """Label noise: part of each worker's labels is replaced by other classes.

    linear: worker k has rate k / (W - 1), from none to `rate`; all: every worker has `rate`. The
    split is that of `base`, by the original labels. Held-out samples keep their labels,
    except for `bench.train --answer`.
    """

    rate: float = field(default=0.4, metadata={"help": "largest fraction of wrong labels"})
    spread: str = field(
        default="linear",
        metadata={"help": "distribution of the rate over the workers", "choices": SPREADS},
    )

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ValueError(f"rate must be in [0, 1], got {self.rate}")
        if self.spread not in SPREADS:
            raise ValueError(f"spread must be one of {', '.join(SPREADS)}, got {self.spread!r}")

    def rate_of(self, worker: int, parts: int) -> float:
        """Return the fraction of wrong labels of a worker; `rate` if there is only one worker."""
        grows = self.spread == "linear" and parts > 1
        return self.rate * worker / (parts - 1) if grows else self.rate

    def alter(
        self,
        worker: int,
        parts: int,
        inputs: NDArray[np.floating],
        labels: NDArray[np.int64],
        classes: int,
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
        """Return unchanged inputs, and labels of which some are wrong.

        Raises ValueError if there is no other class.
        """
        if classes < 2:
            raise ValueError(
                f"label_noise replaces a class by another one, and there is {classes}: take data "
                "of two classes or more, or feature_noise"
            )
        wrong = rng.random(labels.size) < self.rate_of(worker, parts)
        shift = rng.integers(1, classes, labels.size)
        return inputs, np.where(wrong, (labels + shift) % classes, labels)
