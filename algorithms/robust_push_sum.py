"""Push-sum with running sums, exact under message loss.

Hadjicostis, Vaidya, Dominguez-Garcia: Robust Distributed Average Consensus via Exchange of Running
Sums, IEEE TAC 2016, Algorithm 1; with gradients Spiridonoff, Olshevsky, Paschalidis: Robust
Asynchronous Stochastic Gradient-Push, JMLR 2020.
Symbols: those of push_sum.py; s_i the sum of all shares that i has sent over its links of one round
of the period, h_ij the last s_i that j received, t_ij the part of it that j has added.
Departures: those of push_sum.py; workers take their steps synchronously, while those of Spiridonoff
et al. are asynchronous.

    1. g_i <- gradient of the next minibatch at z_i
    2. x_i <- base optimiser step from x_i along g_i
    3. s_i <- s_i + P_ji (x_i, w_i); send s_i to the out-neighbours j; keep P_ii (x_i, w_i)
    4. if s_j has arrived: h_ji <- s_j
       (x_i, w_i) <- local share + sum_j (h_ji - t_ji),  t_ji <- h_ji
    5. z_i <- x_i / w_i

Conserved: the sums of x and w over the workers and over all shares sent but not yet added. Without
losses this is push_sum.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from algorithms.protocol import FRESH, Algorithm, Exchange, Needs, Rows, Workers
from algorithms.push_sum import normalise
from algorithms.topologies import TOPOLOGIES
from algorithms.topologies.exponential import Exponential
from algorithms.topologies.mixing import check
from algorithms.topologies.protocol import Links, Topology


@dataclass
class Sums:
    """Running sums of all shares over the links of one round of the period, in float64."""

    sent: Rows
    """(V, d + 1) sums s of all shares sent."""
    heard: Rows
    """(links into this rank's workers, d + 1) last received sums h."""
    taken: Rows
    """(links into this rank's workers, d + 1) sums t already added."""


@dataclass
class State:
    """Step count k, the push-sum weights, and the running sums of each round of the period."""

    k: int
    w: Rows
    """(V, 1) push-sum weights."""
    sums: list[Sums] = field(metadata=FRESH)


@dataclass(frozen=True)
class RobustPushSum(Algorithm):
    """Push-sum gossip with running sums, which recover the mass of lost messages."""

    topology: Topology = field(
        default=Exponential(),
        metadata={"help": "communication graph; must be periodic", "registry": TOPOLOGIES},
    )
    needs: ClassVar[Needs] = Needs(
        bears_loss=True, exact="its weights must add up to the number of workers"
    )

    def check(self, total: int) -> None:
        """Raise ValueError if the topology does not support `total` workers or is not periodic."""
        check(self.topology, total)
        if self.topology.period(total) is None:
            raise ValueError(
                "running sums need a periodic topology, but this one is random: use exponential or "
                "ring, or the algorithm push_sum"
            )

    def exchange_cycle(self, total: int) -> int:
        """Return the period of the topology."""
        return self.topology.period(total) or 1

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0."""
        V, d = workers.x.shape
        sums = []
        for k in range(self.topology.period(workers.total) or 1):
            into = int(exchange.links(self.topology, k).in_degree[workers.ids].sum())
            rows = (exchange.like(workers.x, n, d + 1, dtype="float64") for n in (V, into, into))
            sums.append(Sums(*rows))
        w = exchange.like(workers.x, V, 1)
        w += 1
        return State(0, w, sums)

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""
        x, w, sums = workers.x, state.w, state.sums[state.k % len(state.sums)]
        workers.gradient()  # 1.
        x *= w
        workers.update()  # 2.
        links = exchange.links(self.topology, state.k)
        here = slice(workers.ids.start, workers.ids.stop)
        x *= (share := 1 / (1 + links.out_degree[here, None]).astype(x.dtype))
        w *= share
        sums.sent[:, :-1] += x  # 3.
        sums.sent[:, -1:] += w
        exchange.deliver(sums.sent, links, sums.heard)  # 4.
        add_news(workers, state, sums, links)
        x /= w  # 5.
        state.k += 1

    def settle(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take all shares that were sent but have not arrived; collective."""
        workers.x *= state.w
        for k, sums in enumerate(state.sums):
            exchange.deliver(sums.sent, exchange.links(self.topology, k), sums.heard)
            add_news(workers, state, sums, exchange.links(self.topology, k))
        workers.x /= state.w

    def rebalance(
        self, exchange: Exchange, workers: Workers, state: State, new: NDArray[np.bool_]
    ) -> None:
        """Scale the weights so that they add up to the number of workers; ratios of two stay."""
        normalise(exchange, state.w)


def add_news(workers: Workers, state: State, sums: Sums, links: Links) -> None:
    """Add what has arrived since the last call to the numerators x and to the weights."""
    sums.taken *= -1
    sums.taken += sums.heard
    ends = links.in_degree[workers.ids].cumsum().tolist()
    for i, (a, b) in enumerate(pairwise([0, *ends])):
        for message in sums.taken[a + 1 : b]:
            sums.taken[a] += message
        if b > a:
            workers.x[i] += sums.taken[a, :-1]
            state.w[i] += sums.taken[a, -1]
    sums.taken[:] = sums.heard
