"""Decentralised parallel SGD: gossip with doubly stochastic weights, no weight to correct.

Lian, Zhang, Zhang, Hsieh, Zhang, Liu: Can Decentralized Algorithms Outperform Centralized
Algorithms?, NIPS 2017, Algorithm 1.
Symbols: x_i parameters and g_i gradient of worker i of W, P the mixing matrix of round k.
Departures: (1) directed graphs are served, too, as long as rows and columns of P sum to one, so
that the mean is kept; (2) with order=adapt_first the step comes before the exchange (Sayed 2014's
adapt then combine), which is what push-sum does on such graphs.

    combine_first                                   adapt_first
    1. send P_ji x_i to the out-neighbours j        1. g_i <- gradient at x_i
    2. g_i <- gradient at x_i, while rows travel    2. x_i <- base optimiser step along g_i
    3. x_i <- sum_j P_ij x_j                        3. send P_ji x_i to the out-neighbours j
    4. x_i <- base optimiser step along g_i         4. x_i <- sum_j P_ij x_j

Conserved by the exchange: sum_i x_i.
"""

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from algorithms.links import Links
from algorithms.protocol import Exchange, Rows, Workers
from algorithms.topology import TOPOLOGIES, check

Order = Literal["combine_first", "adapt_first"]
BALANCED = 1e-12
"""What the shares that a worker gets may differ from one: rounding of a few of them."""


@dataclass
class State:
    """k, the steps taken; what goes out and what came in."""

    k: int
    message: Rows
    """(V, d): the share of x that goes to each out-neighbour."""
    inbox: Rows
    """(V, d): the sum of what came in."""


@dataclass(frozen=True)
class DPSGD:
    """Average with the neighbours every step, while the gradient is computed (D-PSGD)."""

    topology: str = field(
        default="ring",
        metadata={
            "help": "who sends to whom; every worker to as many as it hears from",
            "choices": tuple(TOPOLOGIES),
        },
    )
    order: str = field(
        default="combine_first",
        metadata={"help": "which comes first, exchange or step", "choices": get_args(Order)},
    )

    def check(self, total: int) -> None:
        """Refuse a topology that is too dense for W, or whose mixing matrix moves the mean."""
        topology = TOPOLOGIES[self.topology]()
        check(topology, total)
        first = topology.links(total, 0, np.random.default_rng(0))
        if abs(received(first) - 1).max() > BALANCED:
            raise ValueError(
                f"{self.topology} is not doubly stochastic at {total} workers, so the mean would "
                "move: take push_sum, or a topology where each sends to as many as it hears from"
            )

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0."""
        return State(0, np.zeros_like(workers.x), np.zeros_like(workers.x))

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""
        links = exchange.links(TOPOLOGIES[self.topology](), state.k)
        share = 1 / (1 + links.out_degree[workers.ids, None])
        if self.order == "adapt_first":
            workers.gradient()  # 1.
            workers.update()  # 2.
        np.multiply(workers.x, share, out=state.message, casting="same_kind")
        pull = exchange.start_pull(state.message, links, state.inbox)
        if self.order == "combine_first":
            workers.gradient()
        pull.finish()
        np.add(state.message, state.inbox, out=workers.x)
        if self.order == "combine_first":
            workers.update()
        state.k += 1

    def finish(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Nothing is in flight."""


def received(links: Links) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """(W,) the shares that each worker keeps and gets: the row sums of the mixing matrix."""
    share = 1 / (1 + links.out_degree)
    return share + np.bincount(links.target, share[links.source], minlength=links.total)
