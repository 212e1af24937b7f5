"""Chain: a ring without one of its edges, the slowest to reach consensus."""

from dataclasses import dataclass

import numpy as np

from algorithms.topologies.protocol import Links, both_ways


@dataclass(frozen=True)
class Chain:
    """Both neighbours in a row with two ends, every round."""

    def period(self, total: int) -> int:
        """Return 1: the links are static."""
        return 1

    def size(self, total: int) -> int:
        """Return 2 (W - 1): two links for every worker except the last."""
        return 2 * (total - 1)

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        """Return links between i and i + 1."""
        i = np.arange(total - 1)
        return both_ways(total, i, i + 1)
