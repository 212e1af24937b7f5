"""Classification of any size, for runs at scale: a sample is a function of its number.

Sample i is of class y = i mod C, at the centre of y plus standard normal noise in each of f
features; the centres are at distance s (`separation`) from 0 in random directions, nearly
orthogonal for many features. The best classifier, the nearest centre, then has the accuracy

    integral over z of phi(z) Phi(z + s)^(C - 1)

where phi and Phi are the standard normal density and distribution: 0.90 by default.

A rank computes the samples of its own workers on request; no process has all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.data.protocol import Dataset, Table
from bench.tasks.mlp import SMOOTHING, check_size, check_smoothing, classifier, widths_of
from bench.tasks.protocol import Metric, Task

if TYPE_CHECKING:
    from bench.tasks.classifier import Classifier

DATA_SEED = 0
"""Seed of the data, the same in every run: the seed of a run sets start and minibatches only."""
HELD_OUT = 10_000
"""Maximum number of held-out samples; at most as many as training samples."""
INDEX_BYTES = 3 * 8
"""Bytes of a sample on every rank: its label, its place in the split, and a copy for sorting."""
BLOCK = 32
"""Samples drawn together: few, since a rank needs only some of a block."""


@dataclass(frozen=True)
class Synthetic(Task):
    """Classes around centres on a sphere, of any number of samples, and a perceptron."""

    samples: int = field(default=100_000, metadata={"help": "training samples"})
    features: int = field(default=64, metadata={"help": "features of a sample"})
    classes: int = field(default=10, metadata={"help": "classes, of equal size"})
    separation: float = field(
        default=3.0, metadata={"help": "distance of a class's centre from 0, in deviations"}
    )
    width: int = field(default=128, metadata={"help": "units of a hidden layer"})
    depth: int = field(default=1, metadata={"help": "hidden layers; 0 is logistic regression"})
    parameters: int = field(
        default=0, metadata={"help": "minimum number of parameters, sets the width; 0: by width"}
    )
    smoothing: float = field(default=0.0, metadata=SMOOTHING)
    metric: ClassVar[Metric] = Metric("accuracy", "max", most=1.0)

    def __post_init__(self) -> None:
        for name in ("samples", "features", "classes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        if self.samples < self.classes:
            raise ValueError(
                f"samples must be at least the number of classes, {self.classes}, got "
                f"{self.samples}"
            )
        if not 0 <= self.separation < np.inf:
            raise ValueError(f"separation must be finite and >= 0, got {self.separation}")
        check_smoothing(self.smoothing)
        check_size(self.width, self.depth, self.parameters, Synthetic.width)

    def nbytes(self, part: float, dtype: str) -> int:
        """Return the bytes of all labels and their split, and of the features on a rank."""
        features = part * self.features * np.dtype(dtype).itemsize
        return int(self.samples * (INDEX_BYTES + features))

    def load(self, dtype: str, data: str = "") -> Classifier:
        """Declare the samples; only the held-out ones are computed here."""
        held_out = min(HELD_OUT, self.samples)
        widths = widths_of(self.features, self.classes, self.width, self.depth, self.parameters)
        data_set = Dataset(
            self.table(0, self.samples, dtype),
            self.table(self.samples, held_out, dtype),
            self.classes,
        )
        return classifier(data_set, widths, self.metric, dtype, smoothing=self.smoothing)

    def centres(self) -> NDArray[np.float64]:
        """Return the centres of the classes, (classes, features), `separation` away from 0."""
        rng = np.random.default_rng(DATA_SEED)
        vectors = rng.standard_normal((self.classes, self.features))
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(self.separation * vectors / length)

    def table(self, first: int, count: int, dtype: str) -> Table:
        """Return the samples first ... first + count - 1, with features computed on request."""
        labels = np.arange(first, first + count) % self.classes
        centres = self.centres().astype(dtype)

        def rows(indices: NDArray[np.int64]) -> NDArray[Any]:
            inputs = noise(first + indices, self.features, dtype)
            inputs += centres[labels[indices]]
            return inputs

        return Table(labels, (self.features,), rows)


def noise(numbers: NDArray[np.int64], features: int, dtype: str) -> NDArray[Any]:
    """Return standard normal numbers of these samples, (m, f): a function of sample and feature.

    Blocks of samples are drawn by the Philox generator (Salmon et al., "Parallel Random Numbers: As
    Easy as 1, 2, 3", SC 2011) with the block's number as its counter, the same numbers for every
    dtype.
    """
    result = np.empty((len(numbers), features), dtype)
    order = np.argsort(numbers, kind="stable")
    blocks = numbers[order] // BLOCK
    for part in np.split(order, np.flatnonzero(np.diff(blocks)) + 1):
        if len(part):
            block = int(numbers[part[0]]) // BLOCK
            rng = np.random.Generator(np.random.Philox(key=DATA_SEED, counter=[0, 0, 0, block]))
            drawn = rng.standard_normal((BLOCK, features))  # the same numbers for every dtype
            result[part] = drawn[numbers[part] % BLOCK]
    return result
