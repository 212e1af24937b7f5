"""SCAFFOLD: local SGD with control variates that correct the drift of heterogeneous shards.

Karimireddy, Kale, Mohri, Reddi, Stich, Suresh: SCAFFOLD: Stochastic Controlled Averaging for
Federated Learning, ICML 2020, Algorithm 1 with option II and full participation.
Symbols: x_i parameters and g_i gradient of worker i of W, c_i the control variate of worker i, c
their mean, K the period, eta the learning rate.
Departures: (1) c_i <- mean of the last K g_i. For plain SGD this equals option II,
c_i - c + (x_start - x_i) / (K eta), since x_start - x_i is eta times the sum of g_i - c_i + c. In
this form no learning rate is needed and c_i is a gradient for any base optimiser; (2) the global
learning rate is 1; (3) c - c_i and the sum of g_i are stored instead of c_i; (4) momentum stays
local.

    1. g_i <- gradient of the next minibatch at x_i
    2. x_i <- base optimiser step along g_i - c_i + c
    every K steps:
    3. x_i <- (1/W) sum_j x_j
    4. c_i <- (1/K) sum of the g_i since the last average
    5. c   <- (1/W) sum_j c_j

Invariant: sum_i (c - c_i) = 0, so the corrections do not change the mean of a step. Until the first
average this is local_sgd, and with K = 1 it is allreduce_sgd. With full gradients its fixed point
is the optimum over all data for any K, while local_sgd is biased. Two vectors are averaged.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from algorithms.gradient_tracking import shift_to
from algorithms.protocol import Algorithm, Exchange, Rows, Vector, Workers


@dataclass
class State:
    """Step count k, the corrections, and the gradient sums for the next corrections."""

    k: int
    correction: Rows
    """(V, d) corrections c - c_i."""
    gradients: Rows
    """(V, d) sum of g_i since the last average."""
    c: Vector
    """(d,) mean of the control variates, equal on all ranks."""


@dataclass(frozen=True)
class Scaffold(Algorithm):
    """Local SGD with control variates against client drift on heterogeneous shards (SCAFFOLD)."""

    period: int = field(default=8, metadata={"help": "local steps between averages, K"})

    def __post_init__(self) -> None:
        if self.period < 1:
            raise ValueError(f"period must be >= 1, got {self.period}")

    def exchange_interval(self, total: int) -> int:
        """Return the period."""
        return self.period

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0, with corrections of zero."""
        x = workers.x
        return State(0, exchange.like(x), exchange.like(x), exchange.like(x[0]))

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""
        workers.gradient()  # 1.
        state.gradients += workers.g
        workers.g += state.correction
        workers.update()  # 2.
        state.k += 1
        if state.k % self.period == 0:
            exchange.mean(workers.x)  # 3.
            state.gradients /= self.period  # 4.
            exchange.mean(state.gradients, out=state.c)  # 5.
            state.correction[:] = state.c
            state.correction -= state.gradients
            state.gradients[:] = 0

    def rebalance(
        self, exchange: Exchange, workers: Workers, state: State, new: NDArray[np.bool_]
    ) -> None:
        """Shift all corrections equally, so that they add up to zero again."""
        shift_to(exchange, state.correction, exchange.like(state.correction))
