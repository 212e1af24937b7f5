"""Bipartite matchings: every round each even worker exchanges with one odd worker.

In round j of a period even i meets odd i + 2^(j+1) - 1: 1, 3, 7, ... further. Pairs that met in
round j thus average with pairs 2^j further in the next, as in the one-peer exponential graph, and
where W is a power of two a period averages exactly; unlike there, every link goes both ways.
"""

from dataclasses import dataclass

import numpy as np

from algorithms.topologies.protocol import Links, both_ways, hops


@dataclass(frozen=True)
class Bipartite:
    """Pairs of an even and an odd worker, 1, 3, 7, ... apart in turn; odd W leaves one out."""

    def period(self, total: int) -> int:
        """ceil(log2 W) rounds go round once."""
        return max(1, hops(total))

    def size(self, total: int) -> int:
        """One a worker; the one too many of an odd W sits out."""
        return total // 2 * 2

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        """Even i and odd i + 2^(j+1) - 1 exchange, mod W, for odd W mod W + 1."""
        even = np.arange(0, total, 2)
        odd = (even + 2 ** (k % self.period(total) + 1) - 1) % (total + total % 2)
        there = odd < total  # with odd W, whoever meets worker W, which is none, sits out
        return both_ways(total, even[there], odd[there])
