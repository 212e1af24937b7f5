"""Handwritten digits: scikit-learn's 1,797 real 8x8 images and a two-layer perceptron.

Alpaydin, Kaynak: Optical Recognition of Handwritten Digits, UCI 1998 (the test set of that
collection, as scikit-learn ships it). 1,437 images train, 360 are held out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bench.tasks.protocol import Metric
from partitions.protocol import Samples

if TYPE_CHECKING:
    from bench.tasks.classifier import Classifier

TRAINING = 1437
BRIGHTEST = 16.0


@dataclass(frozen=True)
class Digits:
    """Real 8x8 handwritten digits, perceptron 64-128-10, 9,610 parameters."""

    hidden: int = field(default=128, metadata={"help": "width of the hidden layer"})
    metric: ClassVar[Metric] = Metric("accuracy", "max")

    def __post_init__(self) -> None:
        if self.hidden < 1:
            raise ValueError(f"hidden must be >= 1, got {self.hidden}")

    def load(self, dtype: str) -> Classifier:
        """Read the images; the split into training and held-out ones never changes."""
        import torch
        from sklearn.datasets import load_digits

        from bench.tasks.classifier import Classifier

        images, labels = load_digits(return_X_y=True)
        order = np.random.default_rng(0).permutation(len(labels))
        images = (images[order] / BRIGHTEST).astype(dtype)
        labels = labels[order].astype(np.int64)
        hidden = self.hidden

        def model() -> torch.nn.Module:
            return torch.nn.Sequential(
                torch.nn.Linear(64, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, 10)
            )

        return Classifier(
            model,
            metric=self.metric,
            samples=Samples(labels[:TRAINING], features=images[:TRAINING]),
            held_out=Samples(labels[TRAINING:], features=images[TRAINING:]),
            dtype=dtype,
        )
