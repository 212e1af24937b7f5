"""Random pairs: a matching."""

from dataclasses import dataclass

import numpy as np

from algorithms.topologies.protocol import Links, both_ways


@dataclass(frozen=True)
class RandomPair:
    """A new random matching every round; with odd W one worker sits out."""

    def period(self, total: int) -> None:
        """None: never repeats."""

    def size(self, total: int) -> int:
        """At most one a worker."""
        return total

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        """The workers of a random permutation exchange two by two."""
        one, other = rng.permutation(total)[: total // 2 * 2].reshape(-1, 2).T
        return both_ways(total, one, other)
