"""Serial twin: all workers in one float64 matrix, the reference of every algorithm.

Each family of algorithms has a module twins_FAMILY.py. VARIANTS maps names to algorithms with
options, and TWINS maps each class to a function that runs STEPS steps of a Twin. test_contract.py
runs all of them.
"""

from collections.abc import Callable

import numpy as np
from mpi4py import MPI

from algorithms.exchange.mpi import MPIExchange
from bench.optimizers import SGD
from bench.runtime.batches import Batches
from tests.helpers import Array, Training

STEPS = 25
Twins = dict[type, Callable[..., None]]


class Twin:
    """All workers in one float64 matrix; the exchange is a matrix product or a mean."""

    def __init__(self, total: int, optimizer: SGD) -> None:
        training = Training(MPI.COMM_SELF, total)
        self.exchange: MPIExchange = training.exchange
        self.problem, self.sizes = training.problem, training.workers.samples.astype(float)
        self.optimizer = optimizer
        self.batches = Batches(training.shards, range(total), 4, seed=3, ahead=32)
        self.x = np.tile(training.problem.initial(3), (total, 1))
        self.v = np.zeros_like(self.x)

    def gradient(self, x: Array) -> Array:
        chosen = self.batches.next()
        h, b = self.problem.h[chosen][:, :, None], self.problem.b[chosen]
        mean: Array = (h * (x[:, None] - b)).mean(1)
        return mean

    def direction(self, g: Array) -> Array:
        self.v = self.optimizer.momentum * self.v + g
        return self.optimizer.lr * self.v

    def mean_rows(self) -> Array:
        """Return the mean over the workers in every row, (W, d) float64."""
        same: Array = np.ones((len(self.x), 1)) * self.x.mean(0)
        return same
