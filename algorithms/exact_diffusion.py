"""Exact diffusion, which is D2: gossip that corrects itself by its last two steps.

Yuan, Ying, Zhao, Sayed: Exact Diffusion for Distributed Optimization and Learning, IEEE
Transactions on Signal Processing 2019, Algorithm 1; Tang, Lian, Yan, Zhang, Liu: D2: Decentralized
Training over Decentralized Data, ICML 2018, Algorithm 1.
Symbols: x_i parameters and g_i gradient of worker i of W, psi_i what its step leads to and psi_i'
that of the step before, eta the learning rate, P the mixing matrix.
Departures: (1) eta g_i is whatever step the base optimiser takes, momentum included.

    1. g_i <- gradient of the next minibatch at x_i
    2. psi_i <- base optimiser step from x_i along g_i
    3. x_i <- sum_j P_ij (psi_j + x_j - psi_j'),  with psi' = x before the first step

In one line x(k+1) = P (2 x(k) - x(k-1) - eta g(k) + eta g(k-1)). Conserved by 3: the mean of x
obeys plain SGD. At rest all x are equal, at the optimum of the mean loss, however different the
shards. P is static and symmetric with all eigenvalues above -1/3: that of a plain ring of an even
number of workers is -1/3 and does not settle, hence the lazy weights. What rounding does to the
mean is not mended again: in float32 it wanders by some 1e-7 a step.
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
    """Where the last steps led to; what goes out."""

    psi: Rows
    """(V, d)."""
    message: Rows = field(metadata=SCRATCH)
    """(V, d)."""


@dataclass(frozen=True)
class ExactDiffusion(Algorithm):
    """Gossip corrected by the last two steps (D2): no bias on heterogeneous shards."""

    topology: Topology = field(
        default=Ring(), metadata={"help": "who sends to whom; static", "registry": TOPOLOGIES}
    )
    mixing: str = field(
        default="lazy_metropolis",
        metadata={
            "help": "weights; symmetric, all eigenvalues above -1/3",
            "choices": tuple(MIXINGS),
        },
    )

    def check(self, total: int) -> None:
        """Refuse a mixing matrix under which the correction grows."""
        require(self.topology, self.mixing, total, "spectrum")

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0: no step lies behind."""
        return State(workers.x.copy(), np.zeros_like(workers.x))

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""
        x, psi, message = workers.x, state.psi, state.message
        workers.gradient()  # 1.
        np.subtract(x, psi, out=message)
        workers.update()  # 2.
        psi[:] = x
        message += psi
        exchange.mix(message, exchange.mixing(self.topology, self.mixing, 0), x)  # 3.
