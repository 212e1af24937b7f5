"""Ring: both neighbours."""

from dataclasses import dataclass

import numpy as np

from algorithms.topologies.protocol import Links, both_ways


@dataclass(frozen=True)
class Ring:
    """Both neighbours on a ring, every round."""

    def period(self, total: int) -> int:
        """Return 1: the links are static."""
        return 1

    def size(self, total: int) -> int:
        """Return 2 W: two links a worker."""
        return 2 * total

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        """Return links from i to i - 1 and i + 1 mod W."""
        i = np.arange(total)
        return both_ways(total, i, (i + 1) % total)
