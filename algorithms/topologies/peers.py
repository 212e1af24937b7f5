"""A schedule of peers: how many workers each one sends to, from which step on."""

import re
from collections.abc import Hashable
from dataclasses import replace
from functools import lru_cache
from typing import Any, cast

from algorithms.topologies.checks import check
from algorithms.topologies.protocol import Topology

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
    if not hasattr(topology, "peers"):
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


def check_phases(topology: Topology, peers: str, total: int) -> None:
    """Raise ValueError where one of the phases does not serve W."""
    for _, made in phases(topology, peers):
        check(made, total)
