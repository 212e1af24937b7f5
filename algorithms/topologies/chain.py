"""Chain: a ring cut open, the slowest to agree."""

from dataclasses import dataclass

import numpy as np

from algorithms.topologies.protocol import Links, both_ways


@dataclass(frozen=True)
class Chain:
    """Both neighbours in a row with two ends, every round."""

    def period(self, total: int) -> int:
        """1: static."""
        return 1

    def size(self, total: int) -> int:
        """Two a worker but the last."""
        return 2 * (total - 1)

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        """i exchanges with i + 1."""
        i = np.arange(total - 1)
        return both_ways(total, i, i + 1)
