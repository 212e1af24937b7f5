"""Hypercube: workers whose numbers differ in one bit.

With W = 2^m every worker has m neighbours, and uniform weights have the spectral gap 2 / (m + 1).
"""

from dataclasses import dataclass

import numpy as np

from algorithms.topologies.protocol import Links, both_ways, hops


@dataclass(frozen=True)
class Hypercube:
    """Workers whose numbers differ in one bit, every round; the part that exists for any W."""

    def period(self, total: int) -> int:
        """Return 1: the links are static."""
        return 1

    def size(self, total: int) -> int:
        """Return W ceil(log2 W), an upper bound: ceil(log2 W) links a worker."""
        return total * hops(total)

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        """Return links between i and i xor 2^j if both exist; clearing bits leads to worker 0."""
        i, j = np.meshgrid(np.arange(total), np.arange(hops(total)))
        other = i ^ (1 << j)
        exists = (i < other) & (other < total)
        return both_ways(total, i[exists], other[exists])
