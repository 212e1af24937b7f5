"""Complete graph."""

from dataclasses import dataclass

import numpy as np

from algorithms.topologies.protocol import Links


@dataclass(frozen=True)
class Complete:
    """All workers to all others, every round."""

    def period(self, total: int) -> int:
        """Return 1: the links are static."""
        return 1

    def size(self, total: int) -> int:
        """Return W (W - 1): W - 1 links a worker."""
        return total * (total - 1)

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        """Return links from every worker to all others."""
        link = np.arange(total * (total - 1))  # sorted as they are: a sort of 2^24 takes seconds
        target, source = link // (total - 1), link % (total - 1)
        return Links(total, source + (source >= target), target)
