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
    """Directed, to peers at distances 1, 2, 4, ... in turn (Assran et al. 2019)."""

    peers: int = field(default=1, metadata={"help": "out-neighbours of each worker a round"})

    def __post_init__(self) -> None:
        if self.peers < 1:
            raise ValueError(
                f"peers must be >= 1, got {self.peers}: without peers no row is received"
            )

    def period(self, total: int) -> int:
        """Return ceil(log2 W) for one peer; several peers may return to the first hop earlier."""
        m = max(1, hops(total))
        return m // gcd(m, self.peers)

    def size(self, total: int) -> int:
        """Return W times the number of peers, of which ceil(log2 W) are different."""
        return total * min(self.peers, hops(total))

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        """Return links from i to i + 2^e mod W, e = k peers + j mod ceil(log2 W) for j < peers."""
        i, m = np.arange(total), hops(total)
        exponents = (k * self.peers + np.arange(min(self.peers, m))) % max(1, m)
        return links(
            total, np.repeat(i, len(exponents)), ((i[:, None] + 2**exponents) % total).ravel()
        )


PEERS = {
    "help": "peers a round from a step on, e.g. 2@0/1@300: two from step 0, one from step 300; "
    "empty: those of the topology"
}
"""Metadata of the option `peers` of an algorithm."""


def phases(topology: Topology, peers: str) -> tuple[tuple[int, Topology], ...]:
    """Return (first step, topology from that step on) of each phase, the last phase first.

    Errors: ValueError if the text is not a schedule of peers, or the topology has no peers.
    """
    return _phases(cast(Hashable, topology), peers)


@lru_cache
def _phases(topology: Any, peers: str) -> tuple[tuple[int, Topology], ...]:
    if not peers:
        return ((0, topology),)
    if not isinstance(topology, Exponential):
        raise ValueError(f"peers={peers} needs a topology that has peers, such as exponential")
    parts = [re.fullmatch(r"([1-9][0-9]*)@([0-9]+)", x) for x in peers.split("/")]
    schedule = [(int(x[2]), int(x[1])) for x in parts if x]
    steps = [step for step, _ in schedule]
    if len(schedule) < len(parts) or steps != sorted(set(steps)) or steps[0] != 0:
        raise ValueError(
            "peers must be NUMBER@STEP entries with ascending steps from 0, such as "
            f"2@0/1@300, got {peers!r}"
        )
    return tuple((step, replace(topology, peers=n)) for step, n in reversed(schedule))


def topology_at(topology: Topology, peers: str, k: int) -> Topology:
    """Return the topology of step k."""
    return next(each for step, each in phases(topology, peers) if step <= k)
