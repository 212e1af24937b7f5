"""Exact diffusion (D2): gossip with a correction from the last two steps.

Yuan, Ying, Zhao, Sayed: Exact Diffusion for Distributed Optimization and Learning, IEEE
Transactions on Signal Processing 2019, Algorithm 1; Tang, Lian, Yan, Zhang, Liu: D2: Decentralized
Training over Decentralized Data, ICML 2018, Algorithm 1.
Symbols: x_i parameters and g_i gradient of worker i of W, psi_i the result of its step and
psi_i' that of the previous step, eta the learning rate, P the mixing matrix.
Departures: (1) eta g_i is the step of the base optimiser, including momentum.

    1. g_i <- gradient of the next minibatch at x_i
    2. psi_i <- base optimiser step from x_i along g_i
    3. x_i <- sum_j P_ij (psi_j + x_j - psi_j'),  with psi' = x before the first step

In one line, x(k+1) = P (2 x(k) - x(k-1) - eta g(k) + eta g(k-1)). Conserved by 3: the mean of x
follows plain SGD. At the fixed point all x are equal and minimise the mean loss, for any shards. P
must be static and symmetric with all eigenvalues above -1/3. The smallest eigenvalue of a ring with
uniform weights and an even number of workers is -1/3, which does not converge; hence the lazy
weights by default. Rounding errors of the mean accumulate, by about 1e-7 per step in float32.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from algorithms.gradient_tracking import shift_to
from algorithms.protocol import SCRATCH, Algorithm, Exchange, Needs, Rows, Workers
from algorithms.topologies import TOPOLOGIES
from algorithms.topologies.mixing import MIXINGS, require
from algorithms.topologies.protocol import Topology
from algorithms.topologies.ring import Ring


@dataclass
class State:
    """Results of the last steps and the outgoing rows."""

    psi: Rows
    """(V, d)."""
    message: Rows = field(metadata=SCRATCH)
    """(V, d)."""


@dataclass(frozen=True)
class ExactDiffusion(Algorithm):
    """Gossip corrected by the last two steps (D2): no bias on heterogeneous shards."""

    topology: Topology = field(
        default=Ring(),
        metadata={"help": "communication graph; must be static", "registry": TOPOLOGIES},
    )
    mixing: str = field(
        default="lazy_metropolis",
        metadata={
            "help": "mixing weights; must be symmetric, all eigenvalues above -1/3",
            "choices": tuple(MIXINGS),
        },
    )

    needs: ClassVar[Needs] = Needs(conserves="x")

    def check(self, total: int) -> None:
        """Raise ValueError if the correction diverges with the mixing matrix."""
        require(self.topology, self.mixing, total, "spectrum")

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0, without previous steps."""
        psi, message = (exchange.like(workers.x) for _ in range(2))
        psi[:] = workers.x
        return State(psi, message)

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""
        x, psi, message = workers.x, state.psi, state.message
        message[:] = x
        message -= psi
        workers.step()  # 1., 2.
        psi[:] = x
        message += psi
        exchange.mix(message, exchange.mixing(self.topology, self.mixing, 0), x)  # 3.

    def rebalance(
        self, exchange: Exchange, workers: Workers, state: State, new: NDArray[np.bool_]
    ) -> None:
        """Shift all psi equally, so that their mean is that of x again."""
        shift_to(exchange, state.psi, workers.x)
