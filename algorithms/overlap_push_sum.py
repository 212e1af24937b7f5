"""Overlap stochastic gradient push: gossip that overlaps the computation of the next gradients.

Assran, Loizou, Ballas, Rabbat: Stochastic Gradient Push for Distributed Deep Learning, ICML 2019,
Algorithm 2 (tau-OSGP).
Symbols: those of push_sum.py; tau the delay.
Departures: those of push_sum.py; (4) a message of step k is received at step k + tau, not as soon
as it arrives, so that the result does not depend on timing.

    1. g_i <- gradient of the next minibatch at z_i
    2. x_i <- base optimiser step from x_i along g_i
    3. start to send (P_ji x_i, P_ji w_i) to the out-neighbours j; keep (P_ii x_i, P_ii w_i)
    4. x_i, w_i <- the local share, plus all messages sent to i at step k - tau
    5. z_i <- x_i / w_i

Conserved: the sums of x and w over the workers and the messages in flight. With tau = 0 this is
push_sum.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from algorithms.protocol import Algorithm, Exchange, Handle, Needs, Rows, Workers
from algorithms.push_sum import divide, normalise
from algorithms.topologies import TOPOLOGIES
from algorithms.topologies.exponential import PEERS, Exponential, phases, topology_at
from algorithms.topologies.mixing import check
from algorithms.topologies.protocol import Topology


@dataclass
class State:
    """Step count k, the push-sum weights, and the pulls in flight, oldest first."""

    k: int
    w: Rows
    """(V, 1) push-sum weights."""
    messages: list[Rows]
    """tau + 1 buffers, (V, d + 1) each, of the share of (x, w) for each out-neighbour."""
    inboxes: list[Rows]
    """tau + 1 buffers, (V, d + 1) each, of the sum of the incoming messages."""
    flying: deque[Handle] = field(default_factory=deque)
    """Pulls in flight."""


@dataclass(frozen=True)
class OverlapPushSum(Algorithm):
    """Push-sum gossip that overlaps gradients; messages arrive some steps later (OSGP)."""

    topology: Topology = field(
        default=Exponential(), metadata={"help": "communication graph", "registry": TOPOLOGIES}
    )
    peers: str = field(default="", metadata=PEERS)
    delay: int = field(
        default=1, metadata={"help": "steps between sending and receiving a message, tau"}
    )
    needs: ClassVar[Needs] = Needs(exact="its weights must add up to the number of workers")

    def __post_init__(self) -> None:
        phases(self.topology, self.peers)
        if self.delay < 0:
            raise ValueError(f"delay must be >= 0, got {self.delay}")

    def check(self, total: int) -> None:
        """Raise ValueError if the topology does not support `total` workers."""
        for _, topology in phases(self.topology, self.peers):
            check(topology, total)

    def exchange_cycle(self, total: int) -> int:
        """Return the period of the topology, of the last one of a schedule of peers."""
        return phases(self.topology, self.peers)[0][1].period(total) or 1

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0; nothing is in flight."""
        V, d = workers.x.shape

        def ring() -> list[Rows]:
            return [exchange.like(workers.x, V, d + 1) for _ in range(self.delay + 1)]

        w = exchange.like(workers.x, V, 1)
        w += 1
        return State(0, w, ring(), ring())

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""
        x, w, turn = workers.x, state.w, state.k % (self.delay + 1)
        message, inbox = state.messages[turn], state.inboxes[turn]
        if (w != 1).any():
            workers.gradient()  # 1.
            x *= w
            workers.update()  # 2.
        else:
            workers.step()  # 1., 2.
        links = exchange.links(topology_at(self.topology, self.peers, state.k), state.k)
        divide(x, w, links, workers.ids, message)
        state.flying.append(exchange.start_pull(message, links, inbox))  # 3.
        x[:] = message[:, :-1]
        w[:] = message[:, -1:]
        if len(state.flying) > self.delay:  # 4.
            receive(state, x)
        if (w != 1).any():
            x /= w  # 5.
        state.k += 1

    def finish(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Receive all messages in flight."""
        workers.x *= state.w
        while state.flying:
            receive(state, workers.x)
        workers.x /= state.w

    def rebalance(
        self, exchange: Exchange, workers: Workers, state: State, new: NDArray[np.bool_]
    ) -> None:
        """Scale the weights so that they add up to the number of workers; ratios of two stay."""
        normalise(exchange, state.w)


def receive(state: State, x: Rows) -> None:
    """Complete the oldest pull and add it to the numerators x, (V, d), and to the weights."""
    pull = state.flying.popleft()
    pull.finish()
    x += pull.result[:, :-1]
    state.w += pull.result[:, -1:]
