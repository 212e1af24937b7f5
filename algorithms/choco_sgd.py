"""CHOCO-SGD: gossip of compressed differences to copies of the parameters at the neighbours.

Koloskova, Stich, Jaggi: Decentralized Stochastic Optimization and Gossip Algorithms with Compressed
Communication, ICML 2019, Algorithm 2, in the form with two vectors per worker (Koloskova, Lin,
Stich, Jaggi: Decentralized Deep Learning with Arbitrary Communication Compression, ICLR 2020,
Algorithm 2).
Symbols: x_i parameters and g_i gradient of worker i of W, h_i (x-hat) the public copy of x_i,
s_i = sum_j P_ij h_j, Q the compressor, gamma the consensus step size, P the mixing matrix.
Departures: (1) a row is compressed as a whole, not layer by layer; (2) the base optimiser
may use momentum, which stays local.

    1. g_i <- gradient of the next minibatch at x_i
    2. x_i <- base optimiser step along g_i
    3. q_i <- Q(x_i - h_i);  send it to the neighbours
    4. h_i <- h_i + q_i,  s_i <- s_i + sum_j P_ij q_j
    5. x_i <- x_i + gamma (s_i - h_i)

Conserved by 5: sum_i x_i. Elements that Q omits remain in x_i - h_i and are sent later. A less
accurate Q requires a smaller gamma, otherwise the workers diverge. The default is the gamma of the
compressor: 0.5 for signs, as in the authors' experiments, else delta / 2. If Q keeps a random
fraction delta of the elements, the mean squares of x and x - h decrease for
gamma (1 - lambda) <= delta, and the eigenvalues lambda of P are at least -1. With gamma = 1 and no
compression the algorithm is D-PSGD with order=adapt_first; with one worker it is plain SGD. A lost
message is not supported: its q would be missing from s_i permanently.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from algorithms.compressors import COMPRESSORS
from algorithms.compressors.protocol import Bytes, Compressor, Draw
from algorithms.compressors.sign import Sign
from algorithms.protocol import FRESH, SCRATCH, Algorithm, Exchange, Needs, Rows, Workers
from algorithms.topologies import TOPOLOGIES
from algorithms.topologies.mixing import MIXINGS, require
from algorithms.topologies.protocol import Topology
from algorithms.topologies.ring import Ring

COMPRESSION_STREAM = 8
"""Random stream of the compressors, distinct from other streams of the seed."""


@dataclass
class State:
    """Step count k, the public copies of the rows, their mix, and the messages."""

    k: int
    h: Rows
    """(V, d) public copy of each row."""
    s: Rows
    """(V, d) mix of the public copies, P h."""
    q: Rows = field(metadata=SCRATCH)
    """(d,) scratch: an unpacked row."""
    packed: Bytes = field(metadata=SCRATCH)
    """(V, bytes of a message) outgoing messages."""
    came: Bytes = field(metadata=FRESH)
    """(links into this rank's workers, bytes of a message) incoming messages."""


@dataclass(frozen=True)
class ChocoSGD(Algorithm):
    """Gossip of compressed differences with few bits per element (CHOCO-SGD)."""

    topology: Topology = field(
        default=Ring(),
        metadata={"help": "communication graph; must be static", "registry": TOPOLOGIES},
    )
    mixing: str = field(
        default="metropolis",
        metadata={"help": "mixing weights; must be symmetric", "choices": tuple(MIXINGS)},
    )
    compressor: Compressor = field(
        default=Sign(),
        metadata={"help": "compressor of the exchanged differences", "registry": COMPRESSORS},
    )
    gamma: float | None = field(
        default=None,
        metadata={"help": "consensus step size; default: that of the compressor"},
    )
    needs: ClassVar[Needs] = Needs(
        elementwise=False, exact="its compressor encodes the rows", conserves="x"
    )

    def __post_init__(self) -> None:
        if self.gamma is not None and not 0 < self.gamma <= 1:
            raise ValueError(
                f"gamma must be in (0, 1], got {self.gamma}: omit it for that of the compressor"
            )

    def check(self, total: int) -> None:
        """Raise ValueError if the links change, which s does not support, or P is not symmetric."""
        require(self.topology, self.mixing, total, "static")
        require(self.topology, self.mixing, total, "symmetric")

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0, with public copies of zero."""
        x, links = workers.x, exchange.links(self.topology, 0)
        (V, d), n = x.shape, self.compressor.size(x.shape[1], x.dtype)
        arriving = int(links.in_degree[list(workers.ids)].sum())
        packed, came = (exchange.staged(size, n, dtype="uint8") for size in (V, arriving))
        h, s, q = exchange.like(x), exchange.like(x), exchange.staged(d, dtype=x.dtype)
        return State(0, h, s, q, packed, came)

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""
        x, h, s, q = workers.x, state.h, state.s, state.q
        Q, first = self.compressor, workers.ids[0]
        P = exchange.mixing(self.topology, self.mixing, 0)

        def draw(worker: int) -> Draw:
            return partial(exchange.rng, COMPRESSION_STREAM, worker, state.k)

        into = slice(*P.links.target.searchsorted((first, workers.ids[-1] + 1)).tolist())
        senders, receivers = P.links.source[into].tolist(), P.links.target[into] - first
        workers.step()  # 1., 2.
        for i, worker in enumerate(workers.ids):  # 3.
            q[:] = x[i]
            q -= h[i]
            Q.pack(q, state.packed[i], draw(worker))
        delivery = exchange.start_deliver(state.packed, P.links, state.came)
        for i, worker in enumerate(workers.ids):  # 4.
            Q.unpack(state.packed[i], q, draw(worker))
            h[i] += q
            q *= float(P.own[worker])
            s[i] += q
        delivery.finish()
        links = zip(senders, receivers.tolist(), P.weight[into].tolist(), state.came, strict=True)
        for sender, i, weight, message in links:
            Q.unpack(message, q, draw(sender))
            q *= weight
            s[i] += q
        gamma = Q.gamma(len(q)) if self.gamma is None else self.gamma
        for i in range(len(x)):  # 5.
            q[:] = s[i]
            q -= h[i]
            q *= gamma
            x[i] += q
        state.k += 1

    def rebalance(
        self, exchange: Exchange, workers: Workers, state: State, new: NDArray[np.bool_]
    ) -> None:
        """Send the public copies over the new links, so that s is their mix again."""
        exchange.mix(state.h, exchange.mixing(self.topology, self.mixing, 0), state.s)
