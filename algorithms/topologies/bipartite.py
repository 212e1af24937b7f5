"""Bipartite matchings: every round each even worker exchanges with one odd worker.

In round j of a period even i exchanges with odd i + 2^(j+1) - 1, at distances 1, 3, 7, ... Pairs of
round j thus average with pairs at distance 2^j in the next round, as in the one-peer exponential
graph, and a period averages exactly if W is a power of two. Here every link goes both ways.
"""

from dataclasses import dataclass

import numpy as np

from algorithms.topologies.protocol import Links, both_ways, hops


@dataclass(frozen=True)
class Bipartite:
    """Pairs of an even and an odd worker, 1, 3, 7, ... apart in turn; one left over if W is odd."""

    def period(self, total: int) -> int:
        """Return ceil(log2 W), the number of distances."""
        return max(1, hops(total))

    def size(self, total: int) -> int:
        """Return one link a worker; with odd W one worker has none."""
        return total // 2 * 2

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        """Return links between even i and odd i + 2^(j+1) - 1, mod W, or mod W + 1 for odd W."""
        even = np.arange(0, total, 2)
        odd = (even + 2 ** (k % self.period(total) + 1) - 1) % (total + total % 2)
        exists = odd < total  # with odd W, the partner of the missing worker W has no link
        return both_ways(total, even[exists], odd[exists])
