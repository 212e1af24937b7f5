"""Who sends to whom at round k: the contract, and what all topologies share.

The topologies themselves are in algorithms.topologies, one a file.
"""

from typing import Protocol

import numpy as np

from algorithms.topologies import TOPOLOGIES
from algorithms.topologies.complete import Complete
from algorithms.topologies.exponential import Exponential
from algorithms.topologies.links import Links, links
from algorithms.topologies.random_pair import RandomPair
from algorithms.topologies.ring import Ring
from algorithms.topologies.shapes import hops, sides
from algorithms.topologies.star import Star
from algorithms.topologies.static_exponential import StaticExponential
from algorithms.topologies.torus import Torus

__all__ = [
    "TOPOLOGIES",
    "Complete",
    "Exponential",
    "Links",
    "RandomPair",
    "Ring",
    "Star",
    "StaticExponential",
    "Torus",
    "hops",
    "links",
    "sides",
]
"""Passed on; everything else here is made here."""

MOST_LINKS = 2**24
"""Links a round may have: beyond this the lists alone take a GiB and a round takes minutes."""


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


def check(topology: Topology, total: int) -> None:
    """Raise ValueError where W is not served, or a round would not fit memory and patience."""
    size = topology.size(total)
    if size > MOST_LINKS:
        raise ValueError(
            f"{name_of(topology)} at {total:,} workers is {size:,} messages a round, more than "
            f"{MOST_LINKS:,}: take a sparse topology such as exponential"
        )


def name_of(topology: Topology) -> str:
    """The name in the registry; that of the class where it is in none."""
    cls = type(topology)
    return next((name for name, known in TOPOLOGIES.items() if known is cls), cls.__name__)


def ready() -> dict[str, Topology]:
    """Every topology with its defaults, by name; without those that need an option."""
    found = {}
    for name, cls in TOPOLOGIES.items():
        try:
            found[name] = cls()
        except ValueError:
            continue
    return found
