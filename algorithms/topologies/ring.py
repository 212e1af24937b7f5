"""Ring: both neighbours."""

from dataclasses import dataclass

import numpy as np

from algorithms.topologies.protocol import Links, both_ways


@dataclass(frozen=True)
class Ring:
    """Both neighbours on a ring, every round."""

    def period(self, total: int) -> int:
        """1: static."""
        return 1

    def size(self, total: int) -> int:
        """Two a worker."""
        return 2 * total

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        """i sends to i - 1 and i + 1 mod W."""
        i = np.arange(total)
        return both_ways(total, i, (i + 1) % total)
