"""Star: a hub and its leaves."""

from dataclasses import dataclass

import numpy as np

from algorithms.topologies.protocol import Links, both_ways


@dataclass(frozen=True)
class Star:
    """Worker 0 with all others, both ways; irregular."""

    def period(self, total: int) -> int:
        """Return 1: the links are static."""
        return 1

    def size(self, total: int) -> int:
        """Return 2 (W - 1): two links for every worker except the hub."""
        return 2 * (total - 1)

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        """Return links from worker 0 to all others and back."""
        leaf = np.arange(1, total)
        return both_ways(total, np.zeros_like(leaf), leaf)
