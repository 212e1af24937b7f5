"""Handwritten digits: scikit-learn's 1,797 real 8x8 images and a perceptron.

Alpaydin, Kaynak: Optical Recognition of Handwritten Digits, UCI 1998 (the test set of that
collection, as scikit-learn ships it). 1,437 images train, 360 are held out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bench.tasks.protocol import Metric
from partitions.protocol import Samples

if TYPE_CHECKING:
    from bench.tasks.classifier import Classifier

TRAINING = 1437
BRIGHTEST = 16.0
NORMS = ("none", "batch")


@dataclass(frozen=True)
class Digits:
    """Real 8x8 handwritten digits, perceptron 64-128-10, 9,610 parameters."""

    hidden: int = field(default=128, metadata={"help": "width of a hidden layer"})
    depth: int = field(default=1, metadata={"help": "hidden layers"})
    norm: str = field(
        default="none", metadata={"help": "what normalises the hidden layer", "choices": NORMS}
    )
    group: int = field(
        default=0,
        metadata={"help": "consecutive workers that share the batch norm's statistics; 0: none do"},
    )
    metric: ClassVar[Metric] = Metric("accuracy", "max")

    def __post_init__(self) -> None:
        for name in ("hidden", "depth"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        if self.depth > 1 and self.norm != "none":
            raise ValueError(f"norm={self.norm} has one hidden layer, got depth={self.depth}")
        if self.norm not in NORMS:
            raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {self.norm!r}")
        if self.group < 0:
            raise ValueError(f"group must be >= 0, got {self.group}")
        if self.group and self.norm != "batch":
            raise ValueError(f"group={self.group} needs a norm with statistics: norm=batch")

    def load(self, dtype: str) -> Classifier:
        """Read the images; the split into training and held-out ones never changes."""
        import torch
        from sklearn.datasets import load_digits

        from bench.tasks import perceptron
        from bench.tasks.classifier import Classifier

        images, labels = load_digits(return_X_y=True)
        order = np.random.default_rng(0).permutation(len(labels))
        images = (images[order] / BRIGHTEST).astype(dtype)
        labels = labels[order].astype(np.int64)
        hidden, widths = self.hidden, [64, *[self.hidden] * self.depth]
        data: dict[str, Any] = {
            "metric": self.metric,
            "samples": Samples(labels[:TRAINING], features=images[:TRAINING]),
            "held_out": Samples(labels[TRAINING:], features=images[TRAINING:]),
            "dtype": dtype,
        }

        def model() -> torch.nn.Module:
            deep = [
                part
                for n, m in pairwise(widths)
                for part in (torch.nn.Linear(n, m), torch.nn.ReLU())
            ]
            return torch.nn.Sequential(*deep, torch.nn.Linear(hidden, 10))

        if self.norm == "none":
            return Classifier(model, **data)
        normed = partial(perceptron.layers, 64, hidden, 10)
        return perceptron.NormedPerceptron(normed, group=self.group, **data)
