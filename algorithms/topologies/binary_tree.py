"""Binary tree in the order of a heap."""

from dataclasses import dataclass

import numpy as np

from algorithms.topologies.protocol import Links, both_ways


@dataclass(frozen=True)
class BinaryTree:
    """Parent and children in a binary tree with worker 0 at the root, both ways."""

    def period(self, total: int) -> int:
        """Return 1: the links are static."""
        return 1

    def size(self, total: int) -> int:
        """Return 2 (W - 1): two links for every worker except the root."""
        return 2 * (total - 1)

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        """Return links between every worker i and its parent (i - 1) // 2."""
        child = np.arange(1, total)
        return both_ways(total, child, (child - 1) // 2)
