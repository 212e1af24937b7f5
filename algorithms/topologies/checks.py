"""Checks and names of topologies, by the registry."""

from algorithms.topologies import TOPOLOGIES
from algorithms.topologies.protocol import Topology

MOST_LINKS = 2**24
"""Links a round may have: beyond this the lists alone take a GiB and a round takes minutes."""


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
