"""Read-only samples, and the samples of a worker after `alter`."""

import numpy as np
from numpy.typing import NDArray

from partitions.protocol import Partition

CLASSES = 10

Inputs = NDArray[np.floating]
Labels = NDArray[np.int64]


def alter(
    scheme: Partition,
    inputs: Inputs,
    labels: Labels | None = None,
    *,
    worker: int = 0,
    parts: int = 4,
    classes: int = CLASSES,
    seed: int = 0,
) -> tuple[Inputs, Labels]:
    """Return the samples as the worker sees them, by its own random numbers."""
    targets = np.zeros(len(inputs), np.int64) if labels is None else labels
    rng = np.random.default_rng((seed, worker))
    return scheme.alter(worker, parts, inputs, targets, classes, rng)


def pictures(*shape: int, dtype: str = "float64") -> Inputs:
    """Return read-only inputs in [0, 1)."""
    inputs = np.random.default_rng(1).random(shape).astype(dtype)
    inputs.flags.writeable = False
    return inputs


def classes_of(n: int, classes: int = CLASSES) -> Labels:
    """Return read-only labels."""
    labels = np.random.default_rng(2).integers(0, classes, n)
    labels.flags.writeable = False
    return labels
