"""Torus: a grid without borders."""

from dataclasses import dataclass

import numpy as np

from algorithms.topologies.protocol import Links, links, sides


@dataclass(frozen=True)
class Torus:
    """Both neighbours along both sides of a wrap-around grid; a ring if W is prime."""

    def period(self, total: int) -> int:
        """Return 1: the links are static."""
        return 1

    def size(self, total: int) -> int:
        """Return 4 W for sides above 2; a side of two gives one neighbour, a side of one none."""
        return total * sum(min(side - 1, 2) for side in sides(total))

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        """Return links from (r, c), worker r b + c, to its neighbours up, down, left and right."""
        a, b = sides(total)
        grid = np.arange(total).reshape(a, b)
        near = [np.roll(grid, step, axis) for axis in (0, 1) for step in (1, -1)]
        return links(total, np.tile(grid.ravel(), len(near)), np.stack(near).ravel())
