"""Random matching: pairs of workers."""

from dataclasses import dataclass

import numpy as np

from algorithms.topologies.protocol import Links, both_ways


@dataclass(frozen=True)
class RandomPair:
    """A new random matching every round; with odd W one worker has no partner."""

    def period(self, total: int) -> None:
        """Return None: the links never repeat."""

    def size(self, total: int) -> int:
        """Return W, an upper bound: one link a worker."""
        return total

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        """Return links between consecutive pairs of a random permutation."""
        one, other = rng.permutation(total)[: total // 2 * 2].reshape(-1, 2).T
        return both_ways(total, one, other)
