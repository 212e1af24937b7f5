"""Erdos-Renyi graph: every pair of workers is linked with the same probability.

Erdos, Renyi: On random graphs I, Publicationes Mathematicae 1959; Gilbert 1959 for p.
Always connected: the components of a draw are joined to a chain, by a link from the first worker of
each to the first of the next. Above p = ln W / W a draw is connected in most cases.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from math import log

import numpy as np
from numpy.typing import NDArray

from algorithms.topologies.protocol import Links, both_ways


@dataclass(frozen=True)
class ErdosRenyi:
    """Both ways between any two with probability p, drawn once; components form a chain."""

    p: float | None = field(
        default=None, metadata={"help": "probability of a link; default: 2 ln W / W, at most 1"}
    )
    seed: int = field(default=0, metadata={"help": "seed of the graph"})

    def __post_init__(self) -> None:
        if self.p is not None and not 0 <= self.p <= 1:
            raise ValueError(f"p must be in [0, 1], got {self.p:g}: it is a probability")
        if self.seed < 0:
            raise ValueError(f"seed must be >= 0, got {self.seed}")

    def period(self, total: int) -> int:
        """Return 1: the links are static."""
        return 1

    def size(self, total: int) -> int:
        """Return twice the edges that the seed draws, with those that may join the components."""
        drawn = _edges(total, self.p, np.random.default_rng(self.seed))
        return min(2 * (drawn + total - 1), total * (total - 1))

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        """Return the graph of (W, p, seed), the same every round."""
        return _graph(total, self.p, self.seed)


def _edges(total: int, p: float | None, rng: np.random.Generator) -> int:
    """Return the number of linked pairs, the first draw of the generator."""
    p = min(1.0, 2 * log(total) / total) if p is None else p
    return int(rng.binomial(total * (total - 1) // 2, p))


@lru_cache(maxsize=16)
def _graph(total: int, p: float | None, seed: int) -> Links:
    rng = np.random.default_rng(seed)
    pair = distinct(rng, total * (total - 1) // 2, _edges(total, p, rng))
    # the pair j < i has the number i (i - 1) / 2 + j
    i = ((1 + np.sqrt(1 + 8 * pair)) / 2).astype(np.int64)
    return joined(both_ways(total, i, pair - i * (i - 1) // 2))


def distinct(rng: np.random.Generator, below: int, count: int) -> NDArray[np.int64]:
    """Return `count` different numbers below `below`, ascending int64; all sets equally likely."""
    if 2 * count > below:
        rest = np.ones(below, bool)
        rest[distinct(rng, below, below - count)] = False
        return np.flatnonzero(rest)
    numbers = np.empty(0, np.int64)
    while len(numbers) < count:
        more = rng.integers(below, size=count - len(numbers))
        numbers = np.unique(np.concatenate([numbers, more]))
    return numbers


def joined(graph: Links) -> Links:
    """Return the graph with links between the first workers of consecutive components."""
    first, before = np.arange(graph.total), np.empty(0, np.int64)
    while not np.array_equal(first, before):  # the lowest worker in reach of each
        before = first.copy()
        np.minimum.at(first, graph.target, before[graph.source])
    parts = np.unique(first)
    one = np.concatenate([graph.source, parts[:-1]])
    return both_ways(graph.total, one, np.concatenate([graph.target, parts[1:]]))
