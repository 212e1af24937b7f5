"""Small data files for tasks, and what several tests of tasks ask of a problem."""

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
"""Parameters of a model as a test knows them: shapes by name, in the order of the row."""


def write(path: Path, **arrays: NDArray[Any]) -> str:
    """An HDF5 file of these datasets: x, y, x_test, y_test; its name."""
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return str(path)


def parameters(row: Array, shapes: Plain) -> dict[str, torch.Tensor]:
    """The parameters in a row, (d,), by name: leaves of a graph of their own."""
    made, start = {}, 0
    for name, shape in shapes.items():
        stop = start + int(np.prod(shape))
        values = torch.from_numpy(row[start:stop].reshape(shape).copy())
        made[name] = values.requires_grad_()
        start = stop
    assert start == len(row), f"{len(row)} parameters, {start} expected"
    return made


def loss_and_gradient(
    logits: torch.Tensor, targets: NDArray[np.int64], of: dict[str, torch.Tensor]
) -> tuple[float, Array]:
    """Mean cross-entropy and its gradient by these parameters, (d,)."""
    loss = cross_entropy(logits, torch.from_numpy(targets))
    parts = torch.autograd.grad(loss, list(of.values()))
    return loss.item(), torch.cat([part.flatten() for part in parts]).numpy()


def starts(problem: Problem, workers: int) -> Array:
    """A different model for each worker, (V, d)."""
    return np.stack([problem.initial(seed) for seed in range(workers)])


def gradient(problem: Problem, x: Array, indices: NDArray[np.int64]) -> tuple[Array, Array]:
    """The losses (V,) and gradients (V, d) at x of the minibatches (V, b)."""
    g = np.full_like(x, np.nan)
    learner = problem.learner(x, g)
    return learner.gradient(learner.fetch(indices)), g


def shifted(
    worker: int, inputs: Array, labels: NDArray[np.int64]
) -> tuple[Array, NDArray[np.int64]]:
    """What a worker sees where it sees something of its own: see bench.tasks.protocol.Alter."""
    return inputs + inputs.dtype.type(worker), (labels + worker) % 3
