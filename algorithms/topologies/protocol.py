"""Contract of a topology: the links between workers in each round."""

from dataclasses import dataclass
from functools import cached_property
from math import isqrt
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Links:
    """The directed links of one round, sorted by receiver, then sender.

    source, target: (E,) int64, worker source[e] sends to worker target[e]; no self-links.
    """

    total: int
    source: NDArray[np.int64]
    target: NDArray[np.int64]
    again: bool = False
    """Whether this very object is asked for again in later rounds: then plans for it are kept."""

    @cached_property
    def out_degree(self) -> NDArray[np.int64]:
        """(W,) int64, how many workers each one sends to."""
        return np.bincount(self.source, minlength=self.total)

    @cached_property
    def in_degree(self) -> NDArray[np.int64]:
        """(W,) int64, how many workers each one hears from."""
        return np.bincount(self.target, minlength=self.total)

    @cached_property
    def reverse(self) -> NDArray[np.int64]:
        """(E,) int64, link reverse[e] goes the other way than link e, where all go both ways."""
        return np.argsort(self.source * self.total + self.target)

    @cached_property
    def symmetric(self) -> bool:
        """Whether every link goes both ways."""
        return np.array_equal(self.source[self.reverse], self.target) and np.array_equal(
            self.target[self.reverse], self.source
        )

    def out_neighbours(self, worker: int) -> NDArray[np.int64]:
        """The workers that `worker` sends to, ascending, int64."""
        return np.sort(self.target[self.source == worker])

    def reached(self, worker: int) -> NDArray[np.bool_]:
        """(W,) bool, to whom something from `worker` comes by these links, itself included."""
        order = np.argsort(self.source, kind="stable")
        ends = np.cumsum(self.out_degree)[:-1]
        after = [part.tolist() for part in np.split(self.target[order], ends)]
        found, waiting = {worker}, [worker]
        while waiting:
            new = set(after[waiting.pop()]) - found
            found |= new
            waiting += new
        return np.isin(np.arange(self.total), list(found))

    def mixing_matrix(self) -> NDArray[np.float64]:
        """(W, W) float64 column-stochastic P: P[i, j] is the share that i gets of what j holds.

        Every worker splits evenly over itself and those it sends to (Assran et al. 2019, sec. 3).
        """
        P = np.zeros((self.total, self.total))
        share = 1 / (1 + self.out_degree)
        P[self.target, self.source] = share[self.source]
        np.fill_diagonal(P, share)
        return P


def links(total: int, source: NDArray[np.int64], target: NDArray[np.int64]) -> Links:
    """Links from sender and receiver arrays in any order; self-links and doubles are dropped."""
    keys = np.sort((target * total + source)[source != target])  # np.unique takes 12 times as long
    keys = keys[np.diff(keys, prepend=-1) != 0]
    return Links(total, keys % total, keys // total)


def both_ways(total: int, one: NDArray[np.int64], other: NDArray[np.int64]) -> Links:
    """Links from one[e] to other[e] and back."""
    return links(total, np.concatenate([one, other]), np.concatenate([other, one]))


def hops(total: int) -> int:
    """ceil(log2 W): how many powers of two lie below W."""
    return (total - 1).bit_length()


def sides(total: int) -> tuple[int, int]:
    """a <= b with a b = W, as near to a square as W allows; (1, W) where W is prime."""
    a = next(a for a in range(isqrt(total), 0, -1) if total % a == 0)
    return a, total // a


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
