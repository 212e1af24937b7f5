"""RelaySGD: models relayed along a tree, for an exact but delayed mean at every worker.

Vogels, He, Koloskova, Lin, Karimireddy, Stich, Jaggi: RelaySum for Decentralized Deep Learning on
Heterogeneous Data, NeurIPS 2021, Algorithm 1.
Symbols: x_i parameters and g_i gradient of worker i of W, x_0 the common start, y_i the result of
its step, m_ij the sum of models that i relays to j, c_ij the number of models in that sum.
Departures: (1) the base optimiser may use momentum, which stays local; (2) if a message is lost
(--drop), the previous message over this link and its count are used again.

    1. g_i <- gradient of the next minibatch at x_i
    2. y_i <- base optimiser step from x_i along g_i
    3. send to every neighbour j: m_ij = y_i + the sum of the m_ki of the previous step over the
       other neighbours k, and c_ij = 1 + the sum of their c_ki
    4. x_i <- (y_i + sum_j m_ji + (W - 1 - sum_j c_ji) x_0) / W

The message to j excludes the messages from j, so each worker is in a mean exactly once. A worker at
a distance of e edges contributes its y from e - 1 steps ago, or x_0 before its first message
arrives. Constants are therefore averaged exactly after as many steps as the diameter of the tree.
At the fixed point all x are equal and minimise the mean loss, for any shards. Because of the delay
the models move by eta / (1 + mean delay) per step, and the learning rate may be larger by that
factor. For 16 workers the mean delay is 2.5 steps on a binary tree, the default, and 4.4 on a
chain: on the binary tree, lr=0.3 progresses as fast as synchronous SGD at 0.1. On a star the delay
is below one, but the centre receives from all workers. m and c are sent as one message of d + 1
elements. With one worker the algorithm is plain SGD.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from algorithms.protocol import FRESH, SCRATCH, Algorithm, Exchange, Needs, Rows, Workers
from algorithms.topologies import TOPOLOGIES
from algorithms.topologies.binary_tree import BinaryTree
from algorithms.topologies.mixing import require
from algorithms.topologies.protocol import Links, Topology


@dataclass
class State:
    """Common start, and the messages (m, c) over each link of this rank's workers."""

    start: Rows
    """(1, d) initial parameters of all workers."""
    came: Rows = field(metadata=FRESH)
    """(links into this rank's workers, d + 1) last messages, sorted by worker, then neighbour."""
    leaves: Rows = field(metadata=SCRATCH)
    """(links, d + 1) outgoing messages in the same order, since every edge is bidirectional."""
    total: Rows = field(metadata=SCRATCH)
    """(d + 1,) scratch."""


@dataclass(frozen=True)
class RelaySGD(Algorithm):
    """Relay models along a tree: exact means of all workers, some steps delayed (RelaySGD)."""

    topology: Topology = field(
        default=BinaryTree(),
        metadata={"help": "communication graph; must be a tree", "registry": TOPOLOGIES},
    )
    needs: ClassVar[Needs] = Needs(bears_loss=True, exact="its rows carry numbers of workers")

    def check(self, total: int) -> None:
        """Raise ValueError if the topology is not a tree: in a cycle, workers count repeatedly."""
        require(self.topology, "uniform", total, "tree")

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0, with empty messages."""
        d, ends = workers.x.shape[1], link_offsets(exchange.links(self.topology, 0), workers.ids)
        start, total = exchange.like(workers.x[:1]), exchange.like(workers.x, d + 1)
        start[:] = workers.x[:1]
        came, leaves = (exchange.like(workers.x, ends[-1], d + 1) for _ in range(2))
        return State(start, came, leaves, total)

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""
        x, W, total = workers.x, workers.total, state.total
        links = exchange.links(self.topology, 0)
        near = list(pairwise(link_offsets(links, workers.ids)))
        workers.step()  # 1., 2.
        for i, (a, b) in enumerate(near):  # 3.
            total[:-1], total[-1] = x[i], 1
            relay(state.came[a:b], total, state.leaves[a:b])
        exchange.carry(state.leaves, links, state.came)
        for i, (a, b) in enumerate(near):  # 4.
            for message in state.came[a:b]:
                x[i] += message[:-1]
            total[:-1] = state.start[0]
            total *= W - 1 - sum(float(message[-1]) for message in state.came[a:b])
            x[i] += total[:-1]
        x /= W

    def rebalance(
        self, exchange: Exchange, workers: Workers, state: State, new: NDArray[np.bool_]
    ) -> None:
        """Begin again, from the mean of the workers as the common start."""
        mean = exchange.like(workers.x[0])
        exchange.mean(workers.x, out=mean)
        state.start[:] = mean


def link_offsets(links: Links, ids: range) -> list[int]:
    """Return the offsets of each worker's incoming links, V + 1 numbers."""
    return [0, *links.in_degree[list(ids)].cumsum().tolist()]


def relay(came: Rows, own: Rows, out: Rows) -> None:
    """Set out[j] to own plus all rows of came except came[j]; own, (d + 1,), is overwritten.

    The sums are prefix and suffix sums without subtraction, so that infinities stay visible.
    """
    for j, message in enumerate(came):
        out[j] = own
        own += message
    own[:] = 0
    for j in reversed(range(len(came))):
        out[j] += own
        own += came[j]
