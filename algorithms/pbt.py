"""Population-based training: workers copy better ones and perturb their learning rates.

Jaderberg, Dalibard, Osindero, Czarnecki, et al.: Population Based Training of Neural Networks,
arXiv:1711.09846, 2017, Algorithm 1, with truncation selection or binary tournaments (section 4.1).
Baseline of crowding, which keeps niches. Symbols: x_i parameters of worker i of W, h_i its factor
on the learning rate, l_i the mean of its minibatch losses in the last half of a period, H the
period, k the step.
Departures: (1) a member trains on the shard of its worker and is judged by its own minibatches, so
that evaluation costs no step; (2) the hyperparameter is a factor on the step of the base optimiser,
of any kind; (3) the state of the base optimiser stays with the worker; (4) all members are judged
at the same step.

    1. g_i <- gradient of the next minibatch at x_i;  x_i <- x_i + h_i (base optimiser step)
    after every H steps:
    2. exploit: x_i, h_i <- x_j, h_j of a better worker j, if i is to be replaced
         truncation: i is in the worst fifth by l, and j a random one of the best fifth
         tournament: j is a random other worker, and l_j < l_i
    3. explore, where i was replaced: h_i <- 1.2 h_i or 0.8 h_i, with equal chances

A replaced worker receives one row; the others send nothing but their loss.
"""

from dataclasses import dataclass, field
from math import inf
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from algorithms.protocol import SCRATCH, Algorithm, Exchange, Needs, Rows, Vector, Workers
from algorithms.topologies.protocol import links

START_STREAM, EXPLOIT_STREAM = 24, 25
"""Random streams of the first factors and of each round, distinct from others of the seed."""
SHARE, UP, DOWN = 5, 1.2, 0.8
"""Truncation replaces one worker of so many; factors of a perturbation, as in the paper."""
EXPLOITS = ("truncation", "tournament")


@dataclass
class State:
    """Step count k, the factors of all workers, and the losses of the last half of a period."""

    k: int
    factors: Vector
    """(W,) factors on the learning rate, h, equal on all ranks."""
    losses: Vector
    """(V,) sum of the losses."""
    before: Rows = field(metadata=SCRATCH)
    """(V, d) rows before the step of the base optimiser."""


@dataclass(frozen=True)
class PBT(Algorithm):
    """Population-based training: copies of better workers, perturbed learning rates (PBT)."""

    period: int = field(default=32, metadata={"help": "steps between exploit and explore, H"})
    exploit: str = field(
        default="truncation", metadata={"help": "selection of the copies", "choices": EXPLOITS}
    )
    spread: float = field(
        default=2.0,
        metadata={"help": "first factors on the rate are drawn from 1 / spread to spread"},
    )
    needs: ClassVar[Needs] = Needs(elementwise=False)

    def __post_init__(self) -> None:
        if self.period < 2:
            raise ValueError(f"period must be >= 2, got {self.period}")
        if not 1 <= self.spread < inf:
            raise ValueError(f"spread must be finite and >= 1, got {self.spread}")

    def exchange_interval(self, total: int) -> int:
        """Return the period."""
        return self.period

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0."""
        factors = exchange.staged(exchange.total)
        factors[:] = self.spread ** exchange.rng(START_STREAM).uniform(-1, 1, exchange.total)
        return State(0, factors, exchange.staged(len(workers.x)), exchange.like(workers.x))

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""
        x = workers.x
        state.before[:] = x
        losses = workers.step()
        x -= state.before
        x *= state.factors[list(workers.ids)].astype(x.dtype)[:, None]
        x += state.before  # 1.
        if state.k % self.period >= self.period // 2:
            state.losses += losses
        state.k += 1
        if state.k % self.period == 0:
            rng = exchange.rng(EXPLOIT_STREAM, state.k)
            source = self.sources(gather(exchange, state.losses[:, None])[:, 0], rng)
            copy_rows(exchange, x, source, x)  # 2.
            copies = source != np.arange(exchange.total)
            change = rng.choice((UP, DOWN), exchange.total)
            state.factors[:] = state.factors[source] * np.where(copies, change, 1.0)  # 3.
            state.losses[:] = 0

    def sources(self, losses: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the worker of which each takes the row, (W,) int64; itself if it stays."""
        W = len(losses)
        source = np.arange(W)
        if self.exploit == "truncation":
            order, n = losses.argsort(kind="stable"), W // SHARE if W >= SHARE else W // 2
            if n:
                source[order[W - n :]] = order[rng.integers(n, size=n)]
            return source
        other = (source + rng.integers(1, max(2, W), size=W)) % W
        return np.where(losses[other] < losses, other, source)

    def rebalance(
        self, exchange: Exchange, workers: Workers, state: State, new: NDArray[np.bool_]
    ) -> None:
        """Let new workers compete from their return on."""
        state.losses[new] = 0


def gather(exchange: Exchange, values: NDArray[Any]) -> NDArray[np.float64]:
    """Return the values of all workers on every rank, (V, n) to (W, n) float64; collective."""
    V, n = values.shape
    places = exchange.staged(V, exchange.total, n)
    places[list(range(V)), list(exchange.ids)] = values
    rows = places.reshape(V, -1)
    exchange.mean(rows)
    every: NDArray[np.float64] = rows[0].reshape(exchange.total, n) * exchange.total
    return every


def copy_rows(exchange: Exchange, rows: Rows, source: NDArray[np.int64], out: Rows) -> None:
    """Set out[i] to the row of worker source[i] where that is another one, (V, d); collective."""
    graph = links(exchange.total, source, np.arange(exchange.total))
    copies = source[list(exchange.ids)] != list(exchange.ids)
    came = exchange.staged(int(copies.sum()), rows.shape[1], dtype=rows.dtype)
    exchange.deliver(rows, graph, came)
    out[copies] = came
