"""Gradient tracking: gossip in which every worker also follows the mean gradient of all.

Pu, Nedic: Distributed Stochastic Gradient Tracking Methods, Mathematical Programming 2021 (2018),
equations 4 and 5; Koloskova, Lin, Stich: An Improved Analysis of Gradient Tracking for
Decentralized Machine Learning, NeurIPS 2021, Algorithm 1.
Symbols: x_i parameters and g_i gradient of worker i of W, g_i' its gradient of the step before,
y_i its estimate of the mean gradient, P the mixing matrix of round k.
Departures: (1) x and y of a step travel together, with the P of that round; on changing graphs the
papers would mix y with the P before; (2) a base optimiser with momentum accumulates y, not g.

    1. send x_i and y_i to the out-neighbours
    2. g_i <- gradient of the next minibatch at x_i, while rows travel
    3. y_i <- sum_j P_ij y_j - g_i' + g_i,  with y = g' = 0 before the first step
    4. x_i <- base optimiser step from sum_j P_ij x_j along y_i

Conserved: the mean of y is the mean of g at every step, so the mean of x takes the steps of
synchronous SGD at the workers' own x. At rest all x are equal, at the optimum of the mean loss,
however different the shards. Costs twice the traffic of D-PSGD. A lost message would part the mean
of y from that of g for good.
"""

from dataclasses import dataclass, field

import numpy as np

from algorithms.protocol import SCRATCH, Algorithm, Exchange, Rows, Workers
from algorithms.topologies import TOPOLOGIES
from algorithms.topologies.mixing import MIXINGS, require
from algorithms.topologies.protocol import Topology
from algorithms.topologies.ring import Ring


@dataclass
class State:
    """k, the steps taken; estimates of the mean gradient; gradients of the step before."""

    k: int
    y: Rows
    """(V, d)."""
    before: Rows
    """(V, d)."""
    mixed_x: Rows = field(metadata=SCRATCH)
    """(V, d), what comes of an exchange of x."""
    mixed_y: Rows = field(metadata=SCRATCH)
    """(V, d), and of y."""


@dataclass(frozen=True)
class GradientTracking(Algorithm):
    """Gossip that also tracks the mean gradient: no bias on heterogeneous shards."""

    topology: Topology = field(
        default=Ring(), metadata={"help": "who sends to whom", "registry": TOPOLOGIES}
    )
    mixing: str = field(
        default="metropolis",
        metadata={"help": "weights; they must keep the mean", "choices": tuple(MIXINGS)},
    )

    def check(self, total: int) -> None:
        """Refuse a mixing matrix that moves the mean."""
        require(self.topology, self.mixing, total, "doubly_stochastic")

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0."""
        return State(0, *(np.zeros_like(workers.x) for _ in range(4)))

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""
        x, g, y = workers.x, workers.g, state.y
        P = exchange.mixing(self.topology, self.mixing, state.k)
        x_travels = exchange.start_mix(x, P, state.mixed_x)  # 1.
        y_travels = exchange.start_mix(y, P, state.mixed_y)
        workers.gradient()  # 2.
        x_travels.finish()
        y_travels.finish()
        state.mixed_y -= state.before  # 3. in this order one worker has y = g to the bit
        np.add(state.mixed_y, g, out=y)
        state.before[:] = g
        g[:] = y
        x[:] = state.mixed_x
        workers.update()  # 4.
        state.k += 1
