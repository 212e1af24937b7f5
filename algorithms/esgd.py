"""Evolutionary SGD: generations of training with back-off and of recombination with noise.

Cui, Zhang, Tüske, Picheny: Evolutionary Stochastic Gradient Descent for Optimization of Deep Neural
Networks, NeurIPS 2018, Algorithm 1. Baseline of crowding, in which children replace their like.
Symbols: x_i parameters of worker i of W (mu in the paper), p_i those at the start of a generation,
c_i its child, R(x) the loss of x at one minibatch of the worker that holds it, H the steps of SGD
of a generation (K_s), rho the parents of a child, sigma the deviation of the noise, m the elite.
Departures: (1) fitness is measured on a minibatch of the worker's own shard, and each measurement
costs a gradient; (2) one step of evolution in a generation (K_v = 1) with W children, of which each
has its worker and rho - 1 random others as parents; (3) every member uses the same base optimiser
with the same rate, whose state stays with the worker; (4) survivors stay at their workers where
they can: only a worker of which neither model survives receives another one.

    1. g_i <- gradient of the next minibatch at x_i;  x_i <- base optimiser step along g_i
    after every H steps:
    2. back-off: x_i <- p_i if R(p_i) < R(x_i)
    3. c_i <- mean of the models of rho parents + sigma N(0, 1)
    4. of the 2 W models x_i and c_i, the m with the smallest R and W - m random others survive
"""

from dataclasses import dataclass, field
from math import inf
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from algorithms.pbt import copy_rows, gather
from algorithms.protocol import SCRATCH, Algorithm, Exchange, Needs, Rows, Workers
from algorithms.topologies.protocol import links

PARENT_STREAM, NOISE_STREAM, SURVIVOR_STREAM = 26, 27, 28
"""Random streams of parents, noise and survivors, distinct from others of the seed."""


@dataclass
class State:
    """Step count k, and the models at the start of the generation."""

    k: int
    start: Rows
    """(V, d) p."""
    children: Rows = field(metadata=SCRATCH)
    """(V, d) c."""
    spare: Rows = field(metadata=SCRATCH)
    """(V, d) copies of x, and noise."""


@dataclass(frozen=True)
class ESGD(Algorithm):
    """Generations of SGD with back-off, and of recombination with noise (ESGD)."""

    period: int = field(default=32, metadata={"help": "steps of SGD of a generation, H"})
    parents: int = field(default=2, metadata={"help": "parents of a child, rho, at most W"})
    sigma: float = field(default=0.01, metadata={"help": "standard deviation of the noise"})
    elite: float = field(default=0.6, metadata={"help": "elite as a share of W, m / W"})
    needs: ClassVar[Needs] = Needs(elementwise=False)

    def __post_init__(self) -> None:
        for name in ("period", "parents"):
            if vars(self)[name] < 1:
                raise ValueError(f"{name} must be >= 1, got {vars(self)[name]}")
        if not 0 <= self.sigma < inf:
            raise ValueError(f"sigma must be finite and >= 0, got {self.sigma}")
        if not 0 <= self.elite <= 1:
            raise ValueError(f"elite must be in [0, 1], got {self.elite}")

    def exchange_interval(self, total: int) -> int:
        """Return the period."""
        return self.period

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0."""
        start, children, spare = (exchange.like(workers.x) for _ in range(3))
        start[:] = workers.x
        return State(0, start, children, spare)

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""
        workers.step()  # 1.
        state.k += 1
        if state.k % self.period == 0:
            self._evolve(exchange, workers, state)
            state.start[:] = workers.x

    def rebalance(
        self, exchange: Exchange, workers: Workers, state: State, new: NDArray[np.bool_]
    ) -> None:
        """Start the generation of new workers at their return."""
        state.start[new] = workers.x[new]

    def _evolve(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take steps 2. to 4."""
        x, start, children, own = workers.x, state.start, state.children, list(workers.ids)
        loss = exchange.staged(len(x), 2)
        loss[:, 0] = workers.gradient()
        loss[:, 1] = self._loss(workers, start, state.spare)
        back = loss[:, 1] < loss[:, 0]
        x[back] = start[back]  # 2.
        loss[:, 0] = loss.min(1)
        self._recombine(exchange, x, state)  # 3.
        loss[:, 1] = self._loss(workers, children, state.spare)
        rng = exchange.rng(SURVIVOR_STREAM, state.k)
        child, source = self.survivors(gather(exchange, loss), rng)
        x[child[own]] = children[child[own]]  # 4.
        copy_rows(exchange, children, source, x)

    def _loss(self, workers: Workers, rows: Rows, spare: Rows) -> NDArray[np.floating]:
        """Return the losses of other models at the next minibatches, (V,); spare: (V, d)."""
        spare[:] = workers.x
        workers.x[:] = rows
        losses = workers.gradient().copy()
        workers.x[:] = spare
        return losses

    def _recombine(self, exchange: Exchange, x: Rows, state: State) -> None:
        """Set the children; other parents are the next workers on a ring in random order."""
        W = exchange.total
        others = min(self.parents, W) - 1
        ring = exchange.rng(PARENT_STREAM, state.k).permutation(W)
        sender = np.concatenate([ring[:0], *(np.roll(ring, -n) for n in range(1, others + 1))])
        graph = links(W, sender, np.tile(ring, others))
        exchange.pull(x, graph, state.children)
        state.children += x
        state.children /= others + 1
        noise = exchange.staged(*x.shape, dtype=x.dtype)
        for i, worker in enumerate(exchange.ids):
            noise[i] = exchange.rng(NOISE_STREAM, state.k, worker).normal(0, self.sigma, x.shape[1])
        state.spare[:] = noise
        state.children += state.spare

    def survivors(
        self, loss: NDArray[np.float64], rng: np.random.Generator
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Return the workers that keep their child, and the senders of a child by receiver.

        loss: (W, 2) of each worker's model and child. Returns (W,) bool and (W,) int64, in which a
        worker that receives nothing is its own sender.
        """
        W = len(loss)
        order, m = loss.T.reshape(-1).argsort(kind="stable"), round(self.elite * W)
        survives = np.zeros(2 * W, bool)
        survives[order[:m]] = survives[rng.permutation(order[m:])[: W - m]] = True
        model, child = survives.reshape(2, W)
        source = np.arange(W)
        source[~model & ~child] = (model & child).nonzero()[0]  # as many in one as in the other
        return child & ~model, source
