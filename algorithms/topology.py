"""Who sends to whom at round k: pure functions of (W, k), and for random ones of a seeded rng."""

from dataclasses import dataclass
from math import isqrt
from typing import Protocol

import numpy as np

from algorithms.links import Links, links

__all__ = ["Links", "links"]
"""Passed on; everything else here is made here."""

MOST_LINKS = 2**24
"""Links a round may have: beyond this the lists alone take a GiB and a round takes minutes."""


class Topology(Protocol):
    """A frozen dataclass whose fields are its options. Every one serves every W >= 1."""

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
    """Raise ValueError where a round of the topology would not fit into memory and patience."""
    if topology.size(total) > MOST_LINKS:
        name = type(topology).__name__
        raise ValueError(
            f"{name} at {total:,} workers is {topology.size(total):,} messages a round, more than "
            f"{MOST_LINKS:,}: take a sparse topology such as exponential"
        )


def hops(total: int) -> int:
    """ceil(log2 W): how many powers of two lie below W."""
    return (total - 1).bit_length()


@dataclass(frozen=True)
class Ring:
    """Both neighbours on a ring, every round."""

    def period(self, total: int) -> int:
        """1: static."""
        return 1

    def size(self, total: int) -> int:
        """Two a worker."""
        return 2 * total

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        """i sends to i - 1 and i + 1 mod W."""
        i = np.arange(total)
        return links(total, np.tile(i, 2), np.concatenate([(i - 1) % total, (i + 1) % total]))


def sides(total: int) -> tuple[int, int]:
    """a <= b with a b = W, as near to a square as W allows; (1, W) where W is prime."""
    a = next(a for a in range(isqrt(total), 0, -1) if total % a == 0)
    return a, total // a


@dataclass(frozen=True)
class Torus:
    """Both neighbours along both sides of a wrap-around grid; a ring where W is prime."""

    def period(self, total: int) -> int:
        """1: static."""
        return 1

    def size(self, total: int) -> int:
        """Four a worker; a side of two has one neighbour, a side of one has none."""
        return total * sum(min(side - 1, 2) for side in sides(total))

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        """(r, c), which is r b + c, sends to (r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)."""
        a, b = sides(total)
        grid = np.arange(total).reshape(a, b)
        near = [np.roll(grid, step, axis) for axis in (0, 1) for step in (1, -1)]
        return links(total, np.tile(grid.ravel(), len(near)), np.stack(near).ravel())


@dataclass(frozen=True)
class Exponential:
    """Directed, one peer a round, 2^k hops away (Assran et al. 2019)."""

    def period(self, total: int) -> int:
        """ceil(log2 W) rounds reach every hop."""
        return max(1, hops(total))

    def size(self, total: int) -> int:
        """One a worker."""
        return total

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        """i sends to i + 2^(k mod ceil(log2 W)) mod W."""
        i = np.arange(total)
        return links(total, i, (i + 2 ** (k % self.period(total))) % total)


@dataclass(frozen=True)
class StaticExponential:
    """Directed, all peers 1, 2, 4, ... hops away, every round."""

    def period(self, total: int) -> int:
        """1: static."""
        return 1

    def size(self, total: int) -> int:
        """ceil(log2 W) a worker."""
        return total * hops(total)

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        """i sends to i + 2^j mod W for every j < ceil(log2 W)."""
        i = np.arange(total)
        far = 2 ** np.arange(hops(total))
        return links(total, np.repeat(i, len(far)), ((i[:, None] + far) % total).ravel())


@dataclass(frozen=True)
class Complete:
    """Everybody to everybody, every round."""

    def period(self, total: int) -> int:
        """1: static."""
        return 1

    def size(self, total: int) -> int:
        """W - 1 a worker."""
        return total * (total - 1)

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        """i sends to all others."""
        i = np.arange(total)
        return links(total, np.repeat(i, total), np.tile(i, total))


@dataclass(frozen=True)
class Star:
    """Worker 0 with everybody else, both ways: the irregular one."""

    def period(self, total: int) -> int:
        """1: static."""
        return 1

    def size(self, total: int) -> int:
        """Two a worker but the hub."""
        return 2 * (total - 1)

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        """0 sends to all, all send to 0."""
        leaf = np.arange(1, total)
        hub = np.zeros_like(leaf)
        return links(total, np.concatenate([hub, leaf]), np.concatenate([leaf, hub]))


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
        order = rng.permutation(total)[: total // 2 * 2].reshape(-1, 2)
        return links(total, order.ravel(), order[:, ::-1].ravel())


TOPOLOGIES: dict[str, type[Topology]] = {
    "ring": Ring,
    "torus": Torus,
    "exponential": Exponential,
    "static_exponential": StaticExponential,
    "complete": Complete,
    "star": Star,
    "random_pair": RandomPair,
}
"""Topology by name: the only list."""
