"""Stochastic local search over the order of shards, with noise and restarts chosen by PolyTS.

Yu, Kveton, Mengshoel: Thompson Sampling for Optimizing Stochastic Local Search, ECML PKDD 2017: a
search takes a random move with probability p, its noise, else the best move; it restarts after r
moves without success; a bandit chooses p and r for every round of moves by the best state found in
it, whose value it models as a polynomial in the places of p and r on their grids.
Symbols: W workers, C classes, s(i) the label shares of shard i, pi(j) the shard at position j, P(k)
the mixing matrix of round k, M(k) = P(k + n - 1) .. P(k) that of n rounds.

    cost of pi: mean over positions i and rounds k of |sum_j M(k)_ij s(pi(j)) - s|_1 / 2, with the
    mean s of all shares; it is 0 where every neighbourhood has the labels of all

Departs from the paper: (1) the best move is the best swap of a random position, not of all pairs;
(2) all rounds are of one instance, and their best state is kept; (3) the noise variance of the
rewards is learned.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from math import factorial

import numpy as np
from numpy.typing import NDArray

from algorithms.controllers.posteriors import LinearReward, grid, monomials

NOISES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Grid of the probability of a random move, p."""
RESTARTS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Grid of the moves without success before a restart, r, in units of W."""
DEGREE = 2
"""Degree of the polynomial."""
ENUMERATED = 8
"""Largest W of which all W! orders are compared."""
GAIN = 1e-12
"""Smallest reduction of the cost that counts, for rounding."""
BATCH = 5040
"""Orders that are compared at a time."""

Order = NDArray[np.int64]
"""(W,) int64, the shard at each position."""


@dataclass(frozen=True)
class Placement:
    """Cost of orders of shards on the positions of a topology.

    mixing: (K, W, W) float64, M of each of K rounds. shares: (W, C) float64, label shares.
    """

    mixing: NDArray[np.float64]
    shares: NDArray[np.float64]

    @property
    def workers(self) -> int:
        """W, the number of positions."""
        return len(self.shares)

    def skews(self, order: Order) -> NDArray[np.float64]:
        """Return the total variation of the neighbourhood of each position, (W,), mean over k."""
        near = self.mixing @ self.shares[order] - self.shares.mean(0)
        return np.asarray(np.abs(near).sum(-1).mean(0) / 2, np.float64)

    def cost(self, order: Order) -> float:
        """Return the mean total variation of the neighbourhoods."""
        return float(self.skews(order).mean())

    def swaps(self, order: Order, a: int) -> NDArray[np.float64]:
        """Return the cost after a swap of position a with each position, (W,)."""
        placed = self.shares[order]
        near = self.mixing @ placed - self.shares.mean(0)  # (K, W, C)
        weight = self.mixing[:, :, a, None] - self.mixing  # (K, W, W): of a minus of b
        change = placed - placed[a]  # (W, C): what a gets from b
        costs = [np.abs(near + weight[:, :, b, None] * x).sum() for b, x in enumerate(change)]
        return np.asarray(np.array(costs) / (2 * near.shape[0] * near.shape[1]), np.float64)

    def optimum(self) -> float:
        """Return the smallest cost of all orders, by enumeration; W at most ENUMERATED."""
        assert self.workers <= ENUMERATED, "too many orders to enumerate"
        every = np.array(list(permutations(range(self.workers))), np.int64)
        assert len(every) == factorial(self.workers)
        least = np.inf
        for part in np.array_split(every, -(-len(every) // BATCH)):
            near = self.mixing[:, None] @ self.shares[part] - self.shares.mean(0)
            least = min(least, float(np.abs(near).sum((-1, -2)).mean(0).min()))
        return least / (2 * self.workers)


@dataclass(frozen=True)
class Round:
    """A round of the search: its parameters, its result, and the cost of the best order so far."""

    noise: float
    restart: int
    """Moves without success before a restart."""
    cost: float
    """Smallest cost in the round."""
    best: float


def search(
    placement: Placement, rounds: int, moves: int, rng: np.random.Generator
) -> Iterator[tuple[Round, Order]]:
    """Yield the rounds of `moves` moves each, and the best order so far, which starts as given."""
    W = placement.workers
    arms = [(p, max(1, round(r * W))) for p in NOISES for r in RESTARTS]
    phi = monomials(grid([len(NOISES), len(RESTARTS)]), DEGREE)
    reward = LinearReward.of(phi.shape[1])
    best = np.arange(W)
    start = lowest = placement.cost(best)
    for _ in range(rounds):
        arm = int(reward.draw(phi, rng).argmax())
        order, cost = _walk(placement, *arms[arm], moves, rng)
        reward.update(phi[arm], 1 - cost / start if start else 0.0)
        if cost < lowest - GAIN:
            best, lowest = order, cost
        yield Round(*arms[arm], cost, lowest), best


def _walk(
    placement: Placement, noise: float, restart: int, moves: int, rng: np.random.Generator
) -> tuple[Order, float]:
    """Return the best order of a walk of some moves from a random start, and its cost."""
    W = placement.workers
    order = rng.permutation(W)
    cost = placement.cost(order)
    best, lowest, idle = order.copy(), cost, 0
    for _ in range(moves):
        if idle >= restart:
            order, idle = rng.permutation(W), 0
            cost = placement.cost(order)
        a = int(rng.integers(W))
        costs = placement.swaps(order, a)
        noisy = rng.random() < noise
        b = int(rng.integers(W)) if noisy else int(costs.argmin())
        success = bool(costs[b] < cost - GAIN)
        if success or noisy:
            order[[a, b]] = order[[b, a]]
            cost = float(costs[b])
        idle = 0 if success else idle + 1
        if cost < lowest - GAIN:
            best, lowest = order.copy(), cost
    return best, lowest
