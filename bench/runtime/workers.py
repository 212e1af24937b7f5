"""The workers of one rank: rows of parameters, their shards and their base optimiser."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from algorithms.meter import DATA, GRADIENT, OTHER, UPDATE, Meter
from algorithms.protocol import Rows
from bench.runtime.batches import Batches
from bench.runtime.optimizers import Optimizer
from bench.tasks.protocol import Problem


class TrainingWorkers:
    """Workers that train a problem on their shards; see algorithms.protocol.Workers.

    x, g: (V, d), from Exchange.rows. All start from problem.initial(seed).
    """

    def __init__(
        self,
        problem: Problem,
        optimizer: Optimizer,
        batches: Batches,
        x: Rows,
        g: Rows,
        *,
        ids: range,
        samples: NDArray[np.int64],
        seed: int,
        meter: Meter,
    ) -> None:
        self.ids, self.total, self.samples = ids, len(samples), samples
        self.x, self.g = x, g
        self.losses: NDArray[np.floating] = np.full(len(ids), np.nan)
        """(V,) losses of the last minibatches."""
        x[:] = problem.initial(seed)
        self._learner = problem.learner(x, g)
        self._optimizer, self._batches, self._meter = optimizer, batches, meter
        self.optimizer_state: Any = optimizer.init(self._learner.x)

    def gradient(self) -> NDArray[np.floating]:
        """Fill g at x with the next minibatch of every worker; return the (V,) losses."""
        self._meter.lap(OTHER)
        batch = self._learner.fetch(self._batches.next())
        self._meter.lap(DATA)
        self.losses = self._learner.gradient(batch)
        if self._optimizer.weight_decay:
            self._learner.g += self._optimizer.weight_decay * self._learner.x
        self._meter.lap(GRADIENT)
        return self.losses

    def update(self) -> None:
        """Take one step of the base optimiser along g."""
        self._meter.lap(OTHER)
        self._optimizer.update(self._learner.x, self._learner.g, self.optimizer_state)
        self._meter.lap(UPDATE)
