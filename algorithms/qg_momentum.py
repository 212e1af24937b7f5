"""Quasi-global momentum: gossip with a momentum of the changes of x, not of local gradients.

Lin, Karimireddy, Stich, Jaggi: Quasi-Global Momentum: Accelerating Decentralized Deep Learning on
Heterogeneous Data, ICML 2021, Algorithm 1 (QG-DSGDm).
Symbols: x_i parameters and g_i gradient of worker i of W, eta the learning rate, M_i = eta m_i the
momentum buffer, mu its decay, P the mixing matrix of round k.
Departures: (1) M is eta m, since eta is constant, so that the algorithm needs no learning rate;
(2) the buffer and the local step use the same mu, as in the authors' experiments; (3) momentum of
the base optimiser adds a second, local momentum; use sgd without momentum.

    1. g_i <- gradient of the next minibatch at x_i
    2. z_i <- base optimiser step from x_i along g_i, then z_i <- z_i - mu M_i
    3. x_i' <- sum_j P_ij z_j
    4. M_i <- mu M_i + (1 - mu) (x_i - x_i')
    5. x_i <- x_i'

Conserved by 3: sum_i z_i. If P is the exact mean, M is the same for all workers. A single worker
also has the momentum of 4, M <- (1 - (1 - mu)^2) M + (1 - mu) eta g. With mu = 0 the algorithm is
D-PSGD with order=adapt_first, and plain SGD for one worker.
"""

from dataclasses import dataclass, field
from typing import ClassVar

from algorithms.protocol import SCRATCH, VARIES, Algorithm, Exchange, Needs, Rows, Workers
from algorithms.topologies import TOPOLOGIES
from algorithms.topologies.mixing import MIXINGS, require
from algorithms.topologies.protocol import Topology
from algorithms.topologies.ring import Ring


@dataclass
class State:
    """Step count k, the momentum, x before the step, and the result of an exchange."""

    k: int
    M: Rows
    """(V, d)."""
    start: Rows = field(metadata=SCRATCH)
    """(V, d)."""
    mixed: Rows = field(metadata=SCRATCH)
    """(V, d)."""


@dataclass(frozen=True)
class QGMomentum(Algorithm):
    """Gossip with a momentum of the mixed steps, close to the global momentum (QG-DSGDm)."""

    topology: Topology = field(
        default=Ring(), metadata={"help": "communication graph", "registry": TOPOLOGIES, **VARIES}
    )
    mixing: str = field(
        default="metropolis",
        metadata={"help": "mixing weights; must preserve the mean", "choices": tuple(MIXINGS)},
    )
    momentum: float = field(default=0.9, metadata={"help": "decay of the momentum, mu"})

    needs: ClassVar[Needs] = Needs(conserves="x")

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {self.momentum}")

    def check(self, total: int) -> None:
        """Raise ValueError if the mixing matrix does not preserve the mean."""
        require(self.topology, self.mixing, total, "doubly_stochastic")

    def exchange_cycle(self, total: int) -> int:
        """Return the period of the topology."""
        return self.topology.period(total) or 1

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0, with zero momentum."""
        return State(0, *(exchange.like(workers.x) for _ in range(3)))

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""
        x, M, start, mixed = workers.x, state.M, state.start, state.mixed
        start[:] = x
        workers.step()  # 1., 2.
        M *= self.momentum
        x -= M
        exchange.mix(x, exchange.mixing(self.topology, self.mixing, state.k), mixed)  # 3.
        start -= mixed  # 4.
        start *= 1 - self.momentum
        M += start
        x[:] = mixed  # 5.
        state.k += 1
