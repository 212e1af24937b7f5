"""CHOCO-SGD: gossip of compressed differences to what the neighbours know already.

Koloskova, Stich, Jaggi: Decentralized Stochastic Optimization and Gossip Algorithms with Compressed
Communication, ICML 2019, Algorithm 2, in the form that keeps two vectors a worker (Koloskova, Lin,
Stich, Jaggi: Decentralized Deep Learning with Arbitrary Communication Compression, ICLR 2020,
Algorithm 2).
Symbols: x_i parameters and g_i gradient of worker i of W, h_i (x-hat) what all know of x_i,
s_i = sum_j P_ij h_j, Q the compressor, gamma the consensus step size, P the mixing matrix.
Departures: (1) a row is compressed as a whole, not layer by layer; (2) a base optimiser with
momentum keeps it local.

    1. g_i <- gradient of the next minibatch at x_i
    2. x_i <- base optimiser step along g_i
    3. q_i <- Q(x_i - h_i);  send it to the neighbours
    4. h_i <- h_i + q_i,  s_i <- s_i + sum_j P_ij q_j
    5. x_i <- x_i + gamma (s_i - h_i)

Conserved by 5: sum_i x_i. What Q leaves out stays in x_i - h_i and goes later. The poorer Q, the
smaller gamma must be, or the workers part without bound. Without one it is the compressor's: 0.5
for signs, as the authors take, else half of delta: where Q keeps elements at random, delta of them,
the mean squares of x and x - h shrink while gamma (1 - lambda) <= delta, and eigenvalues lambda of
P are at least -1. With gamma = 1 and no compression this is D-PSGD that adapts first; one worker is
plain SGD. A lost message would leave s_i without that q for good.
"""

from dataclasses import dataclass, field
from functools import partial

import numpy as np

from algorithms.compressors import COMPRESSORS
from algorithms.compressors.protocol import Bytes, Compressor, Draw
from algorithms.compressors.sign import Sign
from algorithms.protocol import SCRATCH, Algorithm, Exchange, Rows, Workers
from algorithms.topologies import TOPOLOGIES
from algorithms.topologies.mixing import MIXINGS, require
from algorithms.topologies.protocol import Topology
from algorithms.topologies.ring import Ring

COMPRESSION_STREAM = 8
"""Keeps these draws apart from others of the same seed."""


@dataclass
class State:
    """k, the steps taken; what neighbours know of each worker, and the mix of that."""

    k: int
    h: Rows
    """(V, d)."""
    s: Rows
    """(V, d)."""
    q: Rows = field(metadata=SCRATCH)
    """(d,) scratch: a row unpacked."""
    packed: Bytes = field(metadata=SCRATCH)
    """(V, bytes of a message)."""
    came: Bytes
    """(links into this rank's workers, bytes of a message)."""


@dataclass(frozen=True)
class ChocoSGD(Algorithm):
    """Gossip of compressed differences: few bits an element (CHOCO-SGD)."""

    topology: Topology = field(
        default=Ring(), metadata={"help": "who sends to whom; static", "registry": TOPOLOGIES}
    )
    mixing: str = field(
        default="metropolis",
        metadata={"help": "weights; they must be symmetric", "choices": tuple(MIXINGS)},
    )
    compressor: Compressor = field(
        default=Sign(), metadata={"help": "what of a row travels", "registry": COMPRESSORS}
    )
    gamma: float | None = field(
        default=None,
        metadata={"help": "consensus step size; without it, that of the compressor"},
    )

    def __post_init__(self) -> None:
        if self.gamma is not None and not 0 < self.gamma <= 1:
            raise ValueError(
                f"gamma must be in (0, 1], or left out for that of the compressor, got {self.gamma}"
            )

    def check(self, total: int) -> None:
        """Refuse links that change, of which s would know nothing, and weights not symmetric."""
        require(self.topology, self.mixing, total, "static")
        require(self.topology, self.mixing, total, "symmetric")

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0: nobody knows anything."""
        x, links = workers.x, exchange.links(self.topology, 0)
        V, n = len(x), self.compressor.size(x.shape[1], x.dtype)
        came = np.zeros((links.in_degree[list(workers.ids)].sum(), n), np.uint8)
        h, s = np.zeros_like(x), np.zeros_like(x)
        return State(0, h, s, np.zeros_like(x[0]), np.zeros((V, n), np.uint8), came)

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""
        x, h, s, q = workers.x, state.h, state.s, state.q
        Q, first = self.compressor, workers.ids[0]
        P = exchange.mixing(self.topology, self.mixing, 0)
        into = slice(*np.searchsorted(P.links.target, (first, workers.ids[-1] + 1)).tolist())
        senders, receivers = P.links.source[into].tolist(), P.links.target[into] - first
        workers.gradient()  # 1.
        workers.update()  # 2.
        for i, worker in enumerate(workers.ids):  # 3.
            np.subtract(x[i], h[i], out=q)
            Q.pack(q, state.packed[i], drawn(exchange.seed, worker, state.k))
        travel = exchange.start_deliver(state.packed, P.links, state.came)
        for i, worker in enumerate(workers.ids):  # 4.
            Q.unpack(state.packed[i], q, drawn(exchange.seed, worker, state.k))
            h[i] += q
            q *= float(P.own[worker])
            s[i] += q
        travel.finish()
        links = zip(senders, receivers.tolist(), P.weight[into].tolist(), state.came, strict=True)
        for sender, i, weight, message in links:
            Q.unpack(message, q, drawn(exchange.seed, sender, state.k))
            q *= weight
            s[i] += q
        gamma = Q.gamma(len(q)) if self.gamma is None else self.gamma
        for i in range(len(x)):  # 5.
            np.subtract(s[i], h[i], out=q)
            q *= gamma
            x[i] += q
        state.k += 1


def drawn(seed: int, worker: int, k: int) -> Draw:
    """What draws for the message of a worker at step k, at both ends of a link."""
    return partial(np.random.default_rng, (seed, COMPRESSION_STREAM, worker, k))
