"""Stochastic gradient push: SGD with push-sum gossip on any directed graph.

Assran, Loizou, Ballas, Rabbat: Stochastic Gradient Push for Distributed Deep Learning, ICML 2019,
Algorithm 1.
Symbols: x_i the biased parameters (numerator) of worker i of W, w_i its push-sum weight,
z_i = x_i / w_i its de-biased parameters, P the column-stochastic mixing matrix of round k.
Departures: (1) every worker divides its mass evenly among itself and its out-neighbours; (2)
between steps workers.x holds z_i, the model, and the numerator is z_i w_i; (3) with weights=samples
the initial w are the relative shard sizes, so that the consensus is the mean weighted by these.

    1. g_i <- gradient of the next minibatch at z_i
    2. x_i <- base optimiser step from x_i along g_i
    3. send (P_ji x_i, P_ji w_i) to the out-neighbours j; keep (P_ii x_i, P_ii w_i)
    4. x_i <- sum_j P_ij x_j,  w_i <- sum_j P_ij w_j
    5. z_i <- x_i / w_i

Conserved by 3 and 4: sum_i x_i and sum_i w_i. x and w are sent as one message of d + 1 elements.
The mass of a lost message (--drop) is lost. The ratio z stays correct, but w decreases, and the
effective learning rate of z_i, eta / w_i, grows until training diverges. robust_push_sum preserves
the mass.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from algorithms.protocol import SCRATCH, VARIES, Algorithm, Exchange, Needs, Rows, Workers
from algorithms.topologies import TOPOLOGIES
from algorithms.topologies.exponential import PEERS, Exponential, phases, topology_at
from algorithms.topologies.mixing import check
from algorithms.topologies.protocol import Links, Topology

Weights = Literal["ones", "samples"]


@dataclass
class State:
    """Step count k, the push-sum weights, and the outgoing and incoming messages."""

    k: int
    w: Rows
    """(V, 1) push-sum weights."""
    message: Rows = field(metadata=SCRATCH)
    """(V, d + 1) share of (x, w) for each out-neighbour."""
    inbox: Rows = field(metadata=SCRATCH)
    """(V, d + 1) sum of the incoming messages."""


@dataclass(frozen=True)
class PushSum(Algorithm):
    """Push-sum gossip: send a share of the parameters to out-neighbours in every step (SGP)."""

    topology: Topology = field(
        default=Exponential(),
        metadata={"help": "communication graph", "registry": TOPOLOGIES, **VARIES},
    )
    peers: str = field(default="", metadata=PEERS)
    weights: str = field(
        default="ones",
        metadata={
            "help": "initial push-sum weights: ones, or samples for the shard sizes",
            "choices": get_args(Weights),
        },
    )
    needs: ClassVar[Needs] = Needs(
        bears_loss=True, exact="its weights must add up to the number of workers"
    )

    def __post_init__(self) -> None:
        phases(self.topology, self.peers)

    def check(self, total: int) -> None:
        """Raise ValueError if the topology does not support `total` workers."""
        for _, topology in phases(self.topology, self.peers):
            check(topology, total)

    def exchange_cycle(self, total: int) -> int:
        """Return the period of the topology, of the last one of a schedule of peers."""
        return phases(self.topology, self.peers)[0][1].period(total) or 1

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0; z = x for any weights."""
        V, d = workers.x.shape
        w = exchange.like(workers.x, V, 1)
        w += 1
        if self.weights == "samples":
            w[:, 0] = workers.samples[workers.ids] / workers.samples.mean()
        message, inbox = (exchange.like(workers.x, V, d + 1) for _ in range(2))
        return State(0, w, message, inbox)

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""
        x, w, message, inbox = workers.x, state.w, state.message, state.inbox
        if (w != 1).any():
            workers.gradient()  # 1.
            x *= w
            workers.update()  # 2.
        else:
            workers.step()  # 1., 2.
        links = exchange.links(topology_at(self.topology, self.peers, state.k), state.k)
        divide(x, w, links, workers.ids, message)
        exchange.pull(message, links, inbox)  # 3.
        message += inbox  # 4.
        x[:], w[:] = message[:, :-1], message[:, -1:]
        if (w != 1).any():
            x /= w  # 5.
        state.k += 1

    def rebalance(
        self, exchange: Exchange, workers: Workers, state: State, new: NDArray[np.bool_]
    ) -> None:
        """Scale the weights so that they add up to the number of workers; ratios of two stay."""
        normalise(exchange, state.w)


def divide(x: Rows, w: Rows, links: Links, ids: range, message: Rows) -> None:
    """Set message, (V, d + 1), to the share of (x, w) for each out-neighbour."""
    share: Rows = 1 / (1 + links.out_degree[ids.start : ids.stop, None])
    if ((exact := share.astype(x.dtype)) == share).all():
        share = exact  # saves the conversion of every element of x
    message[:, :-1], message[:, -1:] = x, w
    message *= share


def normalise(exchange: Exchange, w: Rows) -> None:
    """Divide the weights w, (V, 1), by their mean over all workers; collective."""
    mean = exchange.like(w, 1)
    exchange.mean(w, out=mean)
    w /= float(mean[0])
