"""Complete graph."""

from dataclasses import dataclass

import numpy as np

from algorithms.topologies.protocol import Links


@dataclass(frozen=True)
class Complete:
    """Everybody to everybody, every round."""

    def period(self, total: int) -> int:
        """1: static."""
        return 1

    def size(self, total: int) -> int:
        """W - 1 a worker."""
        return total * (total - 1)

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        """i sends to all others."""
        link = np.arange(total * (total - 1))  # sorted as they are: a sort of 2^24 takes seconds
        target, source = link // (total - 1), link % (total - 1)
        return Links(total, source + (source >= target), target)
