"""RelaySGD: models are relayed along a tree, and every worker takes the exact mean, late.

Vogels, He, Koloskova, Lin, Karimireddy, Stich, Jaggi: RelaySum for Decentralized Deep Learning on
Heterogeneous Data, NeurIPS 2021, Algorithm 1.
Symbols: x_i parameters and g_i gradient of worker i of W, x_0 the start they have in common, y_i
what its step leads to, N_i its neighbours in the tree, m_ij the sum that i relays to j and c_ij
of how many workers it is.
Departures: (1) a base optimiser with momentum keeps it local; (2) of a lost message (--drop) the
last one that came over this link is taken again, with its count.

    1. g_i <- gradient of the next minibatch at x_i
    2. y_i <- base optimiser step from x_i along g_i
    3. to every neighbour j send m_ij = y_i + the sum of m_ki over the other neighbours k, as they
       came in the step before, and c_ij = 1 + the sum of c_ki over them
    4. x_i <- (y_i + sum_j m_ji + (W - 1 - sum_j c_ji) x_0) / W

What j relays never contains what came from j itself, so each worker is in a mean once: with the
y it had as many steps ago as it is edges away, less one; with x_0 before anything of it is there.
So constants are averaged exactly after as many steps as the tree has edges between its ends. At
rest all x are equal, at the optimum of the mean loss, however different the shards. Late means
slow: the models move by eta / (1 + mean delay) a step and bear as much larger a learning rate. The
mean delay of 16 workers is 2.5 steps on a binary tree and 4.4 on a chain, hence the default: there
lr=0.3 goes as far as synchronous SGD at 0.1. On a star it is below one, but its centre hears from
all. m and c travel as one message of d + 1 elements. One worker is plain SGD.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import numpy as np

from algorithms.protocol import SCRATCH, Algorithm, Exchange, Needs, Rows, Workers
from algorithms.topologies import TOPOLOGIES
from algorithms.topologies.binary_tree import BinaryTree
from algorithms.topologies.mixing import require
from algorithms.topologies.protocol import Links, Topology


@dataclass
class State:
    """The common start; (m, c) that came and leave over each link of this rank's workers."""

    start: Rows
    """(1, d)."""
    came: Rows
    """(links into this rank's workers, d + 1), sorted by worker, then neighbour."""
    leaves: Rows = field(metadata=SCRATCH)
    """As many, in the same order of worker, then neighbour: every edge goes both ways."""
    total: Rows = field(metadata=SCRATCH)
    """(d + 1,) scratch."""


@dataclass(frozen=True)
class RelaySGD(Algorithm):
    """Relay models along a tree: the exact mean of all workers, some steps late (RelaySGD)."""

    topology: Topology = field(
        default=BinaryTree(), metadata={"help": "the tree", "registry": TOPOLOGIES}
    )
    needs: ClassVar[Needs] = Needs(bears_loss=True)

    def check(self, total: int) -> None:
        """Refuse what is no tree: in a circle a worker would be counted again and again."""
        require(self.topology, "uniform", total, "tree")

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0: nothing has come."""
        d, ends = workers.x.shape[1], slots(exchange.links(self.topology, 0), workers.ids)
        came = np.zeros((ends[-1], d + 1), workers.x.dtype)
        return State(workers.x[:1].copy(), came, np.zeros_like(came), np.zeros(d + 1, came.dtype))

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""
        x, W, total = workers.x, workers.total, state.total
        links = exchange.links(self.topology, 0)
        near = list(pairwise(slots(links, workers.ids)))
        workers.gradient()  # 1.
        workers.update()  # 2.
        for i, (a, b) in enumerate(near):  # 3.
            total[:-1], total[-1] = x[i], 1
            relay(state.came[a:b], total, state.leaves[a:b])
        exchange.carry(state.leaves, links, state.came)
        for i, (a, b) in enumerate(near):  # 4.
            for message in state.came[a:b]:
                x[i] += message[:-1]
            np.multiply(state.start[0], W - 1 - state.came[a:b, -1].sum(), out=total[:-1])
            x[i] += total[:-1]
        x /= W


def slots(links: Links, ids: range) -> list[int]:
    """Where the links of each of these workers begin among those of all of them; V + 1 places."""
    return [0, *np.cumsum(links.in_degree[list(ids)]).tolist()]


def relay(came: Rows, own: Rows, out: Rows) -> None:
    """Set each of out to own plus all rows of came but its own; `own`, (d + 1,), is overwritten.

    Sums from both ends: nothing that was added is subtracted again, so infinities stay visible.
    """
    for j, message in enumerate(came):
        out[j] = own
        own += message
    own[:] = 0
    for j in reversed(range(len(came))):
        out[j] += own
        own += came[j]
