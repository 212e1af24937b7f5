"""Gossip of one's own: a worker moves towards a random partner in each step.

python -m bench.train --algorithm own_gossip.py:LazyGossip:rate=0.3 --workers 8
python -m bench.check own_gossip.py:LazyGossip
"""

from dataclasses import dataclass, field

import numpy as np

from algorithms.protocol import SCRATCH, Algorithm, Exchange, Rows, Workers
from algorithms.topologies.random_pair import RandomPair


@dataclass
class State:
    """Step count k, and memory for the mixed rows."""

    k: int
    mixed: Rows = field(metadata=SCRATCH)
    """(V, d) mean of a worker and its partner."""


@dataclass(frozen=True)
class LazyGossip(Algorithm):
    """Move a part of the way to the mean with a random partner after every local step."""

    rate: float = field(default=0.5, metadata={"help": "part of the way, in (0, 1]"})

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise ValueError(f"rate must be in (0, 1], got {self.rate}")

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0."""
        return State(0, np.zeros_like(workers.x))

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""
        workers.step()  # 1., 2. g_i at x_i, then x_i <- x_i - eta g_i
        pairs = exchange.mixing(RandomPair(), "uniform", state.k)
        exchange.mix(workers.x, pairs, state.mixed)  # 3. m_i, the mean of x_i and its partner
        state.mixed -= workers.x
        state.mixed *= self.rate
        workers.x += state.mixed  # 4. x_i <- x_i + rate (m_i - x_i)
        state.k += 1
