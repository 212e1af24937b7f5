"""Random regular graph: every worker has the same number of neighbours, drawn once.

Janson: Random regular graphs: asymptotic distributions and contiguity, Combinatorics, Probability
and Computing 1995: the union of a random Hamiltonian cycle and a random (k - 2)-regular graph is,
for large W, equivalent to a random k-regular graph, and it is always connected.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from algorithms.topologies.protocol import Links, both_ways

SWITCHES = 10
"""Number of attempted switches an edge, enough to forget the initial graph."""


@dataclass(frozen=True)
class RandomRegular:
    """Both ways with k random neighbours, drawn once: a ring in random order and k - 2 more."""

    k: int = field(default=4, metadata={"help": "neighbours of a worker, at most all others"})
    seed: int = field(default=0, metadata={"help": "seed of the graph"})

    def __post_init__(self) -> None:
        if self.k < 2:
            raise ValueError(
                f"k must be >= 2, got {self.k}: with one neighbour pairs never mix, take "
                "random_pair for pairs that change"
            )
        if self.seed < 0:
            raise ValueError(f"seed must be >= 0, got {self.seed}")

    def period(self, total: int) -> int:
        """Return 1: the links are static."""
        return 1

    def size(self, total: int) -> int:
        """Return W min(k, W - 1): k links a worker, or to all others."""
        return total * min(self.k, total - 1)

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        """Return the graph of (W, k, seed), the same every round.

        Every worker has min(k, W - 1) neighbours; if k W is odd, one worker has one less.
        """
        return _graph(total, min(self.k, total - 1), self.seed)


@lru_cache(maxsize=16)
def _graph(total: int, k: int, seed: int) -> Links:
    """Return a random ring with chords: those of a circulant graph, switched at random."""
    rng = np.random.default_rng(seed)
    i = np.arange(total)
    ring = [(j, (j + 1) % total) for j in range(total)]
    chords = [(j, (j + hop) % total) for hop in range(2, k // 2 + 1) for j in range(total)]
    if k % 2:  # pairs on opposite sides; with odd W the last worker has no partner
        half = total // 2
        chords += [(j, j + half) for j in range(half)]
    switch(chords, ring, rng)
    one, other = np.array(ring + chords, np.int64).reshape(-1, 2).T
    names = rng.permutation(i)
    return both_ways(total, names[one], names[other])


def switch(
    edges: list[tuple[int, int]], fixed: list[tuple[int, int]], rng: np.random.Generator
) -> None:
    """Exchange the ends of random pairs of edges in place, unless a double or self-link arises.

    Every worker keeps its degree.
    """
    present = {frozenset(edge) for edge in [*edges, *fixed]}
    tries = rng.integers(max(1, len(edges)), size=(SWITCHES * len(edges), 2)).tolist()
    turned = (rng.random(len(tries)) < 0.5).tolist()
    for (e, f), turn in zip(tries, turned, strict=True):
        (a, b), (c, d) = edges[e], edges[f][::-1] if turn else edges[f]
        new = frozenset((a, d)), frozenset((c, b))
        if a != d and c != b and not present.intersection(new):
            present -= {frozenset((a, b)), frozenset((c, d))}
            present |= set(new)
            edges[e], edges[f] = (a, d), (c, b)
