"""The contract of a topology: the links between workers in each round."""

from typing import Protocol

import numpy as np

from algorithms.topologies.links import Links


class Topology(Protocol):
    """A frozen dataclass whose fields are its options. Every one serves every W >= 1.

    The file of links is the exception: `size` and `links` raise ValueError with the reason where
    it is of other workers than W. Round k is drawn from `rng` alone where it is random, and a
    graph that is drawn once from the topology's own seed, so every rank has the same.
    """

    def period(self, total: int) -> int | None:
        """After how many rounds the links repeat: 1 for a static graph, None for a random one."""
        ...

    def size(self, total: int) -> int:
        """How many links a round has at most, without listing them."""
        ...

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        """The links of round k between workers 0 .. total - 1."""
        ...
