"""Small data files for tasks, and computations shared by the tests of tasks."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from bench.tasks.protocol import Problem
from tests.helpers import Array

Plain = dict[str, tuple[int, ...]]
"""Shapes of the parameters of a model by name, in the order of the row."""


def write(path: Path, **arrays: NDArray[Any]) -> str:
    """Write an HDF5 file of the arrays x, y, x_test, y_test; return its name."""
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return str(path)


def parameters(row: Array, shapes: Plain) -> dict[str, torch.Tensor]:
    """Return the parameters in a row, (d,), by name, as leaves of a graph."""
    result, start = {}, 0
    for name, shape in shapes.items():
        stop = start + int(np.prod(shape))
        values = torch.from_numpy(row[start:stop].reshape(shape).copy())
        result[name] = values.requires_grad_()
        start = stop
    assert start == len(row), f"{len(row)} parameters, {start} expected"
    return result


def loss_and_gradient(
    logits: torch.Tensor, targets: NDArray[np.int64], of: dict[str, torch.Tensor]
) -> tuple[float, Array]:
    """Return the mean cross-entropy and its gradient by these parameters, (d,)."""
    loss = cross_entropy(logits, torch.from_numpy(targets))
    parts = torch.autograd.grad(loss, list(of.values()))
    return loss.item(), torch.cat([part.flatten() for part in parts]).numpy()


def starts(problem: Problem, workers: int) -> Array:
    """Return (V, d) float64, a different model for each worker."""
    return np.stack([problem.initial(seed) for seed in range(workers)])


def gradient(problem: Problem, x: Array, indices: NDArray[np.int64]) -> tuple[Array, Array]:
    """Return the losses (V,) and gradients (V, d) at x of the minibatches (V, b)."""
    g = np.full_like(x, np.nan)
    learner = problem.learner(x, g)
    return learner.gradient(learner.fetch(indices)), g


def shifted(
    worker: int, inputs: Array, labels: NDArray[np.int64]
) -> tuple[Array, NDArray[np.int64]]:
    """Return an alteration of the samples of a worker; see bench.tasks.protocol.Alter."""
    return inputs + inputs.dtype.type(worker), (labels + worker) % 3
