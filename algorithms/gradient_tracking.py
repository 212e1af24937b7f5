"""Gradient tracking: gossip of the parameters and of estimates of the mean gradient.

Pu, Nedic: Distributed Stochastic Gradient Tracking Methods, Mathematical Programming 2021 (2018),
equations 4 and 5; Koloskova, Lin, Stich: An Improved Analysis of Gradient Tracking for
Decentralized Machine Learning, NeurIPS 2021, Algorithm 1.
Symbols: x_i parameters and g_i gradient of worker i of W, g_i' that of the previous step,
y_i its estimate of the mean gradient, P the mixing matrix of round k.
Departures: (1) x and y of a step are mixed together, with the P of that round, while the papers mix
y with the previous P on time-varying graphs; (2) momentum of the base optimiser accumulates y, not
g.

    1. send x_i and y_i to the out-neighbours
    2. g_i <- gradient of the next minibatch at x_i, overlapping 1
    3. y_i <- sum_j P_ij y_j - g_i' + g_i,  with y = g' = 0 before the first step
    4. x_i <- base optimiser step from sum_j P_ij x_j along y_i

Conserved: the mean of y is the mean of g at every step, so the mean of x takes the steps of
synchronous SGD at the workers' own x. At the fixed point all x are equal and minimise the mean
loss, for any shards. The traffic is twice that of D-PSGD. Lost messages are not supported: the
means of y and g would differ permanently.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from algorithms.protocol import SCRATCH, Algorithm, Exchange, Needs, Rows, Workers
from algorithms.topologies import TOPOLOGIES
from algorithms.topologies.mixing import MIXINGS, require
from algorithms.topologies.protocol import Topology
from algorithms.topologies.ring import Ring


@dataclass
class State:
    """Step count k, the estimates of the mean gradient, and the gradients of the previous step."""

    k: int
    y: Rows
    """(V, d) estimates of the mean gradient."""
    before: Rows
    """(V, d) gradients of the previous step."""
    mixed_x: Rows = field(metadata=SCRATCH)
    """(V, d) result of mixing x."""
    mixed_y: Rows = field(metadata=SCRATCH)
    """(V, d) result of mixing y."""


@dataclass(frozen=True)
class GradientTracking(Algorithm):
    """Gossip that also tracks the mean gradient: no bias on heterogeneous shards."""

    topology: Topology = field(
        default=Ring(), metadata={"help": "communication graph", "registry": TOPOLOGIES}
    )
    mixing: str = field(
        default="metropolis",
        metadata={"help": "mixing weights; must preserve the mean", "choices": tuple(MIXINGS)},
    )
    needs: ClassVar[Needs] = Needs(
        exact="its estimates must add up to the gradients", conserves="x"
    )

    def check(self, total: int) -> None:
        """Raise ValueError if the mixing matrix does not preserve the mean."""
        require(self.topology, self.mixing, total, "doubly_stochastic")

    def exchange_cycle(self, total: int) -> int:
        """Return the period of the topology."""
        return self.topology.period(total) or 1

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0."""
        return State(0, *(exchange.like(workers.x) for _ in range(4)))

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""
        x, g, y = workers.x, workers.g, state.y
        P = exchange.mixing(self.topology, self.mixing, state.k)
        x_mix = exchange.start_mix(x, P, state.mixed_x)  # 1.
        y_mix = exchange.start_mix(y, P, state.mixed_y)
        workers.gradient()  # 2.
        x_mix.finish()
        y_mix.finish()
        state.mixed_y -= state.before  # 3. in this order, y = g to the bit with one worker
        y[:] = state.mixed_y
        y += g
        state.before[:] = g
        g[:] = y
        x[:] = state.mixed_x
        workers.update()  # 4.
        state.k += 1

    def rebalance(
        self, exchange: Exchange, workers: Workers, state: State, new: NDArray[np.bool_]
    ) -> None:
        """Shift all estimates equally, so that their mean is that of the gradients again."""
        shift_to(exchange, state.y, state.before)


def shift_to(exchange: Exchange, rows: Rows, target: Rows) -> None:
    """Shift all rows equally, so that their mean is that of the target, (V, d); collective."""
    gap = exchange.like(rows)
    gap[:] = target
    gap -= rows
    exchange.mean(gap)
    rows += gap
