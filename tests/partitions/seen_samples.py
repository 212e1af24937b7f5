"""Samples that must not be written to, and what a worker sees of them."""

import numpy as np
from numpy.typing import NDArray

from partitions.protocol import Partition

CLASSES = 10

Inputs = NDArray[np.floating]
Labels = NDArray[np.int64]


def seen(
    scheme: Partition,
    inputs: Inputs,
    labels: Labels | None = None,
    *,
    worker: int = 0,
    parts: int = 4,
    classes: int = CLASSES,
    seed: int = 0,
) -> tuple[Inputs, Labels]:
    """What the worker sees, by the random numbers that are its own."""
    given_ = np.zeros(len(inputs), np.int64) if labels is None else labels
    rng = np.random.default_rng((seed, worker))
    return scheme.alter(worker, parts, inputs, given_, classes, rng)


def pictures(*shape: int, dtype: str = "float64") -> Inputs:
    """Inputs in [0, 1) that must not be written to."""
    made = np.random.default_rng(1).random(shape).astype(dtype)
    made.flags.writeable = False
    return made


def classes_of(n: int, classes: int = CLASSES) -> Labels:
    """Labels that must not be written to."""
    made = np.random.default_rng(2).integers(0, classes, n)
    made.flags.writeable = False
    return made
