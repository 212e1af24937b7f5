"""Decentralised parallel SGD: gossip with doubly stochastic weights.

Lian, Zhang, Zhang, Hsieh, Zhang, Liu: Can Decentralized Algorithms Outperform Centralized
Algorithms?, NIPS 2017, Algorithm 1.
Symbols: x_i parameters and g_i gradient of worker i of W, P the mixing matrix of round k.
Departures: (1) directed graphs are also supported if the rows and columns of P sum to one, so that
the mean is preserved; (2) with order=adapt_first the step precedes the exchange (Sayed 2014's
adapt-then-combine), as in push-sum on such graphs; (3) if a message is lost (--drop), the receiver
adds its weight to that of its own row, which changes the mean.

    combine_first                                   adapt_first
    1. send x_i to the out-neighbours               1. g_i <- gradient at x_i
    2. g_i <- gradient at x_i, overlapping 1        2. x_i <- base optimiser step along g_i
    3. x_i <- sum_j P_ij x_j                        3. send x_i to the out-neighbours
    4. x_i <- base optimiser step along g_i         4. x_i <- sum_j P_ij x_j

Conserved by the exchange: sum_i x_i.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

from algorithms.protocol import SCRATCH, VARIES, Algorithm, Exchange, Needs, Rows, Workers
from algorithms.topologies import TOPOLOGIES
from algorithms.topologies.mixing import MIXINGS, require
from algorithms.topologies.protocol import Topology
from algorithms.topologies.ring import Ring

Order = Literal["combine_first", "adapt_first"]


@dataclass
class State:
    """Step count k and the result of an exchange."""

    k: int
    mixed: Rows = field(metadata=SCRATCH)
    """(V, d)."""


@dataclass(frozen=True)
class DPSGD(Algorithm):
    """Average with the neighbours every step, overlapping the gradient computation (D-PSGD)."""

    topology: Topology = field(
        default=Ring(), metadata={"help": "communication graph", "registry": TOPOLOGIES, **VARIES}
    )
    mixing: str = field(
        default="uniform",
        metadata={"help": "mixing weights; must preserve the mean", "choices": tuple(MIXINGS)},
    )
    order: str = field(
        default="combine_first",
        metadata={
            "help": "order of the exchange (combine) and the step (adapt)",
            "choices": get_args(Order),
        },
    )
    needs: ClassVar[Needs] = Needs(bears_loss=True, conserves="x")

    def check(self, total: int) -> None:
        """Raise ValueError if the mixing matrix does not preserve the mean."""
        require(self.topology, self.mixing, total, "doubly_stochastic")

    def exchange_cycle(self, total: int) -> int:
        """Return the period of the topology."""
        return self.topology.period(total) or 1

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0."""
        return State(0, exchange.like(workers.x))

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""
        x, mixed = workers.x, state.mixed
        P = exchange.mixing(self.topology, self.mixing, state.k)
        if self.order == "adapt_first":
            workers.step()  # 1., 2.
        mix = exchange.start_mix(x, P, mixed)
        if self.order == "combine_first":
            workers.gradient()
        mix.finish()
        x[:] = mixed
        if self.order == "combine_first":
            workers.update()
        state.k += 1
