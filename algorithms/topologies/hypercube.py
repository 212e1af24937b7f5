"""Hypercube: workers whose numbers differ in one bit.

With W = 2^m it has m neighbours a worker and, split evenly, the spectral gap 2 / (m + 1).
"""

from dataclasses import dataclass

import numpy as np

from algorithms.topologies.protocol import Links, both_ways, hops


@dataclass(frozen=True)
class Hypercube:
    """All whose number differs in one bit, every round; what there is of it for any W."""

    def period(self, total: int) -> int:
        """1: static."""
        return 1

    def size(self, total: int) -> int:
        """ceil(log2 W) a worker at most."""
        return total * hops(total)

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        """i and i xor 2^j exchange, where both exist; connected, for clearing a bit goes down."""
        i, j = np.meshgrid(np.arange(total), np.arange(hops(total)))
        other = i ^ (1 << j)
        there = (i < other) & (other < total)
        return both_ways(total, i[there], other[there])
