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
    """True if later rounds use this very object: then the exchange keeps plans for it."""

    @cached_property
    def out_degree(self) -> NDArray[np.int64]:
        """Number of out-neighbours of each worker, (W,) int64."""
        return np.bincount(self.source, minlength=self.total)

    @cached_property
    def in_degree(self) -> NDArray[np.int64]:
        """Number of in-neighbours of each worker, (W,) int64."""
        return np.bincount(self.target, minlength=self.total)

    @cached_property
    def reverse(self) -> NDArray[np.int64]:
        """Index of the opposite link of each link, (E,) int64, of symmetric links."""
        return np.argsort(self.source * self.total + self.target)

    @cached_property
    def symmetric(self) -> bool:
        """True if every link has an opposite link."""
        return np.array_equal(self.source[self.reverse], self.target) and np.array_equal(
            self.target[self.reverse], self.source
        )

    def out_neighbours(self, worker: int) -> NDArray[np.int64]:
        """Return the out-neighbours of a worker, ascending, int64."""
        return np.sort(self.target[self.source == worker])

    def reached(self, worker: int) -> NDArray[np.bool_]:
        """Return a (W,) bool mask of the workers that a worker reaches, itself included."""
        order = np.argsort(self.source, kind="stable")
        ends = np.cumsum(self.out_degree)[:-1]
        after = [part.tolist() for part in np.split(self.target[order], ends)]
        reached, waiting = {worker}, [worker]
        while waiting:
            new = set(after[waiting.pop()]) - reached
            reached |= new
            waiting += new
        return np.isin(np.arange(self.total), list(reached))

    def mixing_matrix(self) -> NDArray[np.float64]:
        """Return a column-stochastic P, (W, W) float64: P[i, j] is the share of j that i gets.

        Every worker splits evenly over itself and its out-neighbours (Assran et al. 2019, sec. 3).
        """
        P = np.zeros((self.total, self.total))
        share = 1 / (1 + self.out_degree)
        P[self.target, self.source] = share[self.source]
        np.fill_diagonal(P, share)
        return P


def links(total: int, source: NDArray[np.int64], target: NDArray[np.int64]) -> Links:
    """Return links from sender and receiver arrays in any order, without self-links and doubles."""
    keys = np.sort((target * total + source)[source != target])  # np.unique takes 12 times as long
    keys = keys[np.diff(keys, prepend=-1) != 0]
    return Links(total, keys % total, keys // total)


def both_ways(total: int, one: NDArray[np.int64], other: NDArray[np.int64]) -> Links:
    """Return links from one[e] to other[e] and back."""
    return links(total, np.concatenate([one, other]), np.concatenate([other, one]))


def hops(total: int) -> int:
    """Return ceil(log2 W), the number of powers of two below W."""
    return (total - 1).bit_length()


def sides(total: int) -> tuple[int, int]:
    """Return a <= b with a b = W, as near to a square as W allows; (1, W) for a prime W."""
    a = next(a for a in range(isqrt(total), 0, -1) if total % a == 0)
    return a, total // a


class Topology(Protocol):
    """A frozen dataclass whose fields are its options; it supports every W >= 1.

    The topology of a file is the exception: `size` and `links` raise ValueError if the file is for
    another number of workers. A random round k draws from `rng` alone, and a graph that is drawn
    once from the topology's own seed, so that every rank has the same links.
    """

    def period(self, total: int) -> int | None:
        """Return the number of rounds after which links repeat: 1 if static, None if random."""

    def size(self, total: int) -> int:
        """Return the maximum number of links of a round, without listing them."""

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        """Return the links of round k between the workers 0 .. total - 1."""
