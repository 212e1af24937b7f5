"""Static exponential graph: all powers of two at once."""

from dataclasses import dataclass

import numpy as np

from algorithms.topologies.protocol import Links, hops, links


@dataclass(frozen=True)
class StaticExponential:
    """Directed, to all peers at distances 1, 2, 4, ..., every round."""

    def period(self, total: int) -> int:
        """Return 1: the links are static."""
        return 1

    def size(self, total: int) -> int:
        """Return W ceil(log2 W): ceil(log2 W) links a worker."""
        return total * hops(total)

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        """Return links from i to i + 2^j mod W for every j < ceil(log2 W)."""
        i = np.arange(total)
        far = 2 ** np.arange(hops(total))
        return links(total, np.repeat(i, len(far)), ((i[:, None] + far) % total).ravel())
