"""Star: a hub and its leaves."""

from dataclasses import dataclass

import numpy as np

from algorithms.topologies.protocol import Links, both_ways


@dataclass(frozen=True)
class Star:
    """Worker 0 with everybody else, both ways: the irregular one."""

    def period(self, total: int) -> int:
        """1: static."""
        return 1

    def size(self, total: int) -> int:
        """Two a worker but the hub."""
        return 2 * (total - 1)

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        """0 sends to all, all send to 0."""
        leaf = np.arange(1, total)
        return both_ways(total, np.zeros_like(leaf), leaf)
