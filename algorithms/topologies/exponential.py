"""One-peer exponential graph, and with more peers.

Assran, Loizou, Ballas, Rabbat: Stochastic Gradient Push for Distributed Deep Learning, ICML 2019,
section 3.
With one peer and W a power of two, a period averages exactly; with more peers, or another W, not.
"""

from dataclasses import dataclass, field
from math import gcd

import numpy as np

from algorithms.topologies.links import Links, links
from algorithms.topologies.shapes import hops


@dataclass(frozen=True)
class Exponential:
    """Directed, peers a round 1, 2, 4, ... hops away in turn (Assran et al. 2019)."""

    peers: int = field(default=1, metadata={"help": "how many workers each one sends to a round"})

    def __post_init__(self) -> None:
        if self.peers < 1:
            raise ValueError(f"peers must be >= 1, got {self.peers}: with none, nobody is heard")

    def period(self, total: int) -> int:
        """ceil(log2 W) rounds with one peer; until the first hop comes first again."""
        m = max(1, hops(total))
        return m // gcd(m, self.peers)

    def size(self, total: int) -> int:
        """A peer a worker, each; there are ceil(log2 W) hops at most."""
        return total * min(self.peers, hops(total))

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        """i sends to i + 2^(k peers + j) mod W for j < peers, exponents mod ceil(log2 W)."""
        i, m = np.arange(total), hops(total)
        turn = (k * self.peers + np.arange(min(self.peers, m))) % max(1, m)
        return links(total, np.repeat(i, len(turn)), ((i[:, None] + 2**turn) % total).ravel())
