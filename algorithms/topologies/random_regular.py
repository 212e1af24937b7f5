"""Random regular graph: every worker has the same number of neighbours, drawn once.

Janson: Random regular graphs: asymptotic distributions and contiguity, Combinatorics, Probability
and Computing 1995: a random Hamiltonian cycle with a random (k - 2)-regular graph beside it is,
for large W, as good as a random k-regular graph, and it is connected for sure.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from algorithms.topologies.protocol import Links, both_ways

SWITCHES = 10
"""Switches tried an edge: after that many the start is forgotten."""


@dataclass(frozen=True)
class RandomRegular:
    """Both ways with k random neighbours, drawn once: a ring in random order and k - 2 more."""

    k: int = field(
        default=4, metadata={"help": "neighbours of a worker; all others where there are fewer"}
    )
    seed: int = field(default=0, metadata={"help": "of the one graph"})

    def __post_init__(self) -> None:
        if self.k < 2:
            raise ValueError(
                f"k must be >= 2, got {self.k}: with one neighbour pairs stay apart, take "
                "random_pair for pairs that change"
            )
        if self.seed < 0:
            raise ValueError(f"seed must be >= 0, got {self.seed}")

    def period(self, total: int) -> int:
        """1: static."""
        return 1

    def size(self, total: int) -> int:
        """k a worker; all others where W is not larger."""
        return total * min(self.k, total - 1)

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        """The graph of (W, k, seed), the same every round.

        min(k, W - 1) neighbours each; where k W is odd, one worker has one neighbour less.
        """
        return _graph(total, min(self.k, total - 1), self.seed)


@lru_cache(maxsize=16)
def _graph(total: int, k: int, seed: int) -> Links:
    """The ring stays; the chords of a circulant graph are switched at random, then all renamed."""
    rng = np.random.default_rng(seed)
    i = np.arange(total)
    ring = [(j, (j + 1) % total) for j in range(total)]
    chords = [(j, (j + hop) % total) for hop in range(2, k // 2 + 1) for j in range(total)]
    if k % 2:  # pairs on opposite sides; with odd W the last worker finds none
        half = total // 2
        chords += [(j, j + half) for j in range(half)]
    switch(chords, ring, rng)
    one, other = np.array(ring + chords, np.int64).reshape(-1, 2).T
    names = rng.permutation(i)
    return both_ways(total, names[one], names[other])


def switch(
    edges: list[tuple[int, int]], fixed: list[tuple[int, int]], rng: np.random.Generator
) -> None:
    """Exchange the ends of random pairs of edges, in place, where no double or self-link arises.

    Every worker keeps its degree.
    """
    taken = {frozenset(edge) for edge in [*edges, *fixed]}
    tries = rng.integers(max(1, len(edges)), size=(SWITCHES * len(edges), 2)).tolist()
    turned = (rng.random(len(tries)) < 0.5).tolist()
    for (e, f), turn in zip(tries, turned, strict=True):
        (a, b), (c, d) = edges[e], edges[f][::-1] if turn else edges[f]
        new = frozenset((a, d)), frozenset((c, b))
        if a != d and c != b and not taken.intersection(new):
            taken -= {frozenset((a, b)), frozenset((c, d))}
            taken |= set(new)
            edges[e], edges[f] = (a, d), (c, b)
