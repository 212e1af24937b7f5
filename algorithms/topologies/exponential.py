"""Exponential graph with one or more peers a round, and schedules of the number of peers.

Assran, Loizou, Ballas, Rabbat: Stochastic Gradient Push for Distributed Deep Learning, ICML 2019,
section 3.
With one peer and W a power of two, the rounds of a period average exactly; with more peers, or
another W, they do not.
"""

import re
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import gcd
from typing import Any, cast

import numpy as np

from algorithms.topologies.protocol import Links, Topology, hops, links


@dataclass(frozen=True)
class Exponential:
    """Directed, peers a round 1, 2, 4, ... hops away in turn (Assran et al. 2019)."""

    peers: int = field(default=1, metadata={"help": "how many workers each one sends to a round"})

    def __post_init__(self) -> None:
        if self.peers < 1:
            raise ValueError(f"peers must be >= 1, got {self.peers}: with none, nobody is heard")

    def period(self, total: int) -> int:
        """ceil(log2 W) rounds with one peer; until the first hop comes first again."""
        m = max(1, hops(total))
        return m // gcd(m, self.peers)

    def size(self, total: int) -> int:
        """A peer a worker, each; there are ceil(log2 W) hops at most."""
        return total * min(self.peers, hops(total))

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        """i sends to i + 2^(k peers + j) mod W for j < peers, exponents mod ceil(log2 W)."""
        i, m = np.arange(total), hops(total)
        turn = (k * self.peers + np.arange(min(self.peers, m))) % max(1, m)
        return links(total, np.repeat(i, len(turn)), ((i[:, None] + 2**turn) % total).ravel())


PEERS = {
    "help": "how many peers a round, from which step on, e.g. 2@0/1@300; empty: as the topology "
    "says"
}
"""Metadata of the option."""


def phases(topology: Topology, peers: str) -> tuple[tuple[int, Topology], ...]:
    """(first step, topology from then on), the last phase first.

    Errors: ValueError for a text that is no such schedule, or a topology without peers.
    """
    return _phases(cast(Hashable, topology), peers)


@lru_cache
def _phases(topology: Any, peers: str) -> tuple[tuple[int, Topology], ...]:
    if not peers:
        return ((0, topology),)
    if not isinstance(topology, Exponential):
        raise ValueError(f"peers={peers} needs a topology that has peers, such as exponential")
    parts = [re.fullmatch(r"([1-9][0-9]*)@([0-9]+)", x) for x in peers.split("/")]
    found = [(int(x[2]), int(x[1])) for x in parts if x]
    steps = [step for step, _ in found]
    if len(found) < len(parts) or steps != sorted(set(steps)) or steps[0] != 0:
        raise ValueError(
            "peers must say how many from which step on, the first from step 0, such as "
            f"2@0/1@300, got {peers!r}"
        )
    return tuple((step, replace(topology, peers=n)) for step, n in reversed(found))


def at(topology: Topology, peers: str, k: int) -> Topology:
    """The topology of step k."""
    return next(made for step, made in phases(topology, peers) if step <= k)
