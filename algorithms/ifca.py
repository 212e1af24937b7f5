"""Iterative federated clustering algorithm (IFCA): one model for each of K clusters of workers.

Ghosh, Chung, Yin, Ramchandran: An Efficient Framework for Clustered Federated Learning, NeurIPS
2020, Algorithm 1, with model averaging. Baseline of crowding: the number of clusters is an option.
Symbols: theta_j the model of cluster j, H (tau in the paper) local steps, W workers.

    before every H steps:
    1. j(i) <- argmin_j of the loss of theta_j at a minibatch of worker i;  x_i <- theta_j(i)
    2. g_i <- gradient of the next minibatch at x_i;  x_i <- base optimiser step along g_i
    after every H steps:
    3. theta_j <- mean of x_i over the workers with j(i) = j, if there are any

Departs from the paper: (1) all workers take part in every round; (2) the losses of step 1. are of
one minibatch for each model (in a loop of one's own all at that of the step), and so cost K
gradients; (3) theta_j starts as the initial parameters
with the elements of each layer in random order, for j > 0. All K models are averaged in one
all-reduce of K d elements.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from algorithms.pbt import gather
from algorithms.protocol import INHERITED, SCRATCH, Algorithm, Exchange, Needs, Rows, Workers

STREAM = 23
"""Random stream of the initial models, distinct from other streams of the seed."""


@dataclass
class State:
    """Step count k, the models of all clusters, and the cluster of each worker."""

    k: int
    models: Rows = field(metadata=INHERITED)
    """(V, K d) theta of all clusters, equal for all workers."""
    cluster: NDArray[np.int64] = field(metadata=INHERITED)
    """(V,) cluster of each worker, j."""
    sums: Rows = field(metadata=SCRATCH)
    """(V, K d) x of each worker at the place of its cluster, zero elsewhere."""


@dataclass(frozen=True)
class IFCA(Algorithm):
    """One model for each of a given number of clusters of workers (IFCA)."""

    clusters: int = field(default=2, metadata={"help": "number of clusters, K"})
    period: int = field(default=8, metadata={"help": "steps between averages, H"})
    needs: ClassVar[Needs] = Needs(elementwise=False)

    def __post_init__(self) -> None:
        for name in ("clusters", "period"):
            value = vars(self)[name]
            if value < 1:
                raise ValueError(f"{name} must be >= 1, got {value}")

    def exchange_interval(self, total: int) -> int:
        """Return the period."""
        return self.period

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0."""
        V, K = len(workers.x), self.clusters
        models, sums = (exchange.like(workers.x, V, K * workers.x.shape[1]) for _ in range(2))
        models.reshape(V, K, -1)[:] = initial_models(exchange, workers, K)
        return State(0, models, exchange.staged(V, dtype="int64"), sums)

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""
        if state.k % self.period == 0:
            self._choose(exchange, workers, state)  # 1.
        workers.step()  # 2.
        state.k += 1
        if state.k % self.period == 0:
            self._average(exchange, workers, state)  # 3.

    def _choose(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Set x to the model of the smallest loss."""
        x, V = workers.x, len(workers.x)
        models = state.models.reshape(V, self.clusters, -1)
        losses = exchange.staged(V, self.clusters)
        for j in range(self.clusters):
            x[:] = models[:, j]
            losses[:, j] = workers.gradient()
        state.cluster[:] = losses.argmin(1)
        x[:] = models[list(range(V)), state.cluster]

    def _average(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Set the models to the means of their clusters, and x to the model of the worker."""
        x, V, K = workers.x, len(workers.x), self.clusters
        own = list(range(V)), state.cluster
        state.sums[:] = 0
        sums, models = (rows.reshape(V, K, -1) for rows in (state.sums, state.models))
        sums[own] = x
        share = exchange.staged(V, K)
        share[own] = 1
        exchange.mean(state.sums)
        exchange.mean(share)
        for j in share[0].nonzero()[0]:
            models[:, j] = sums[:, j]
            models[:, j] /= share[0, j]
        x[:] = models[own]

    def worker_groups(
        self, exchange: Exchange, workers: Workers, state: State
    ) -> NDArray[np.int64]:
        """Return the cluster of every worker in the last round, (W,); collective."""
        return gather(exchange, state.cluster[:, None])[:, 0].round().astype(np.int64)

    def rebalance(
        self, exchange: Exchange, workers: Workers, state: State, new: NDArray[np.bool_]
    ) -> None:
        """Give new workers the model of their neighbour's cluster."""
        at = list(range(len(workers.x)))
        models = state.models.reshape(len(at), self.clusters, -1)[at, state.cluster]
        workers.x[new] = models[new]


def initial_models(exchange: Exchange, workers: Workers, clusters: int) -> NDArray[np.floating]:
    """Return the initial models, (K, d): the first as given, others in random order by layer."""
    models = exchange.staged(clusters, workers.x.shape[1], dtype=workers.x.dtype)
    models[:] = workers.x[0]
    rng = exchange.rng(STREAM)
    for model in models[1:]:
        for layer in workers.layers:
            rng.shuffle(model[layer.start : layer.stop])
    return models
