"""Speciation: local SGD that splits into species where one consensus cannot be right.

Workers whose data contradict each other are pulled apart in the same few directions, again and
again: P populations have P - 1 such directions. Workers whose data are merely skewed are pulled in
as many directions as there are classes, and stay together. So the deviations from the mean tell
how many populations there are, and which worker belongs to which.
Sattler, Müller, Samek: Clustered Federated Learning, IEEE TNNLS 32(8), 2021 (averages first, then
splits by the similarity of updates); Li, Balazs, Parks, Clarkson: A Species Conserving Genetic
Algorithm for Multimodal Function Optimization, Evolutionary Computation 10(3), 2002 (species);
Assran, Loizou, Ballas, Rabbat: Stochastic Gradient Push for Distributed Deep Learning, ICML 2019
(the graph within a species).
Departs from Sattler et al.: (1) the split is decided by the spectrum of the deviations, not by
norms of updates; (2) updates are summed over many rounds, in two halves, so that the noise of
minibatches cancels; (3) deviations are sketched; (4) a split is into up to P species at once.
Symbols: H steps between averages, K steps before a decision, S the sketch, n_s members of species
s, t the number of an average, a_i and b_i sums of sketches of worker i.

    1. x_i <- base optimiser step along the gradient of the next minibatch at x_i
    after every H steps:
    2. in the last K / 2 steps before a decision: a_i += S x_i if t is odd, else b_i += S x_i
    3. one species: x_i <- mean of all x_j
       several: x_i <- (x_i + x_j) / 2, j the member 2^(t mod ceil(log2 n_s)) places before i
    after K, 2 K, 4 K, .. steps, in each species:
    4. C <- sum_i (a_i - mean a) (b_i - mean b)^T, its symmetric part, with eigenvalues l_1 >= l_2..
    5. j < P of the largest l_j / l_j+1; if it is at least 1 + gap / n_s^(1/3):
         the members form j + 1 species, by k-means on (a_i + b_i) in the j directions

A random spectrum has smaller gaps the more members there are, hence the threshold. At least 2 j + 1
members are needed for j directions. Labels skewed over P classes or fewer look like populations.
"""

from dataclasses import dataclass, field
from math import inf
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from algorithms.niching.species import clusters, directions, sketch
from algorithms.pbt import gather
from algorithms.protocol import FRESH, INHERITED, SCRATCH, Algorithm, Exchange, Needs, Rows, Workers
from algorithms.topologies.mixing import Mixing
from algorithms.topologies.protocol import links

STREAM = 29
"""Random stream of the signs of the sketch, distinct from other streams of the seed."""
SIZE = 128
"""Numbers of a sketch."""


@dataclass
class State:
    """Step count k, the species, and the sums of sketches."""

    k: int
    own: NDArray[np.int64] = field(metadata=INHERITED)
    """(V,) species of the workers of this rank."""
    species: NDArray[np.int64] = field(metadata=FRESH)
    """(W,) species of all workers, equal on all ranks."""
    odd: NDArray[np.float64]
    """(V, SIZE) sums of the sketches before odd averages, a."""
    even: NDArray[np.float64]
    """(V, SIZE) the same before even averages, b."""
    signs: NDArray[np.int8] = field(metadata=FRESH)
    """(d,) signs of the sketch."""
    mixed: Rows = field(metadata=SCRATCH)
    """(V, d) rows of a round within species."""


@dataclass(frozen=True)
class Speciation(Algorithm):
    """Averages of all at first, then of species of workers that deviate alike (speciation)."""

    period: int = field(default=8, metadata={"help": "steps between averages, H"})
    decide: int = field(default=96, metadata={"help": "steps before the first decision, K"})
    most: int = field(default=4, metadata={"help": "most species that one splits into, P"})
    gap: float = field(
        default=3.5,
        metadata={"help": "n workers split at an eigenvalue 1 + gap / n^(1/3) times the next one"},
    )
    needs: ClassVar[Needs] = Needs(elementwise=False)

    def __post_init__(self) -> None:
        if self.period < 1:
            raise ValueError(f"period must be >= 1, got {self.period}")
        if self.decide < 1 or self.decide % (4 * self.period):
            raise ValueError(
                f"decide must be a multiple of 4 period = {4 * self.period}, got {self.decide}"
            )
        if self.most < 1:
            raise ValueError(f"most must be >= 1, got {self.most}")
        if not 0 <= self.gap < inf:
            raise ValueError(f"gap must be finite and >= 0, got {self.gap}")

    def exchange_interval(self, total: int) -> int:
        """Return the period."""
        return self.period

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0: one species."""
        V, d = workers.x.shape
        signs = exchange.staged(d, dtype="int8")
        signs[:] = exchange.rng(STREAM).choice(np.array([-1, 1], np.int8), d)
        own, species = (exchange.staged(n, dtype="int64") for n in (V, exchange.total))
        odd, even = (exchange.staged(V, SIZE) for _ in range(2))
        return State(0, own, species, odd, even, signs, exchange.like(workers.x))

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""
        workers.step()  # 1.
        state.k += 1
        if state.k % self.period:
            return
        number, end = state.k // self.period, self.decide
        while end < state.k:
            end *= 2
        if state.k > end // 2:
            sums = state.odd if number % 2 else state.even
            for i, row in enumerate(workers.x):
                sums[i] += sketch(row, state.signs, SIZE)  # 2.
        if (state.species == state.species[0]).all():  # 3.
            exchange.mean(workers.x)
        else:
            exchange.mix(workers.x, self.mixing(state.species, number), state.mixed)
            workers.x[:] = state.mixed
        if state.k == end:
            self._split(exchange, state, workers.x.shape[1])

    def worker_groups(
        self, exchange: Exchange, workers: Workers, state: State
    ) -> NDArray[np.int64]:
        """Return the species of every worker, each named by its first member, (W,)."""
        return state.species

    def mixing(self, species: NDArray[np.int64], number: int) -> Mixing:
        """Return the weights of average `number` within the species, (W,) int64."""
        W = len(species)
        _, at, counts = np.unique(species, return_inverse=True, return_counts=True)
        order, first = at.argsort(kind="stable"), counts.cumsum() - counts
        position = np.empty(W, np.int64)
        position[order] = np.arange(W) - first.repeat(counts)
        hops = np.ceil(np.log2(counts)).clip(1).astype(np.int64)
        heard = (position - 2 ** (number % hops)[at]) % counts[at]
        graph = links(W, order[first[at] + heard], np.arange(W))
        return Mixing(graph, 1 - graph.in_degree / 2, np.full(len(graph.source), 0.5))

    def rebalance(
        self, exchange: Exchange, workers: Workers, state: State, new: NDArray[np.bool_]
    ) -> None:
        """Let new workers join their neighbour's species, and begin to observe again."""
        state.species[:] = gather(exchange, state.own[:, None])[:, 0].round()
        state.odd[:] = 0
        state.even[:] = 0

    def _split(self, exchange: Exchange, state: State, d: int) -> None:
        """Split each species in which clusters stand out; collective."""
        former = state.species.copy()
        for one in np.unique(former).tolist():
            members = (former == one).nonzero()[0]
            n = len(members)
            most = min(self.most, (n + 1) // 2, (d + 1) // 2)
            if most < 2:
                continue
            a, b = self._deviations(exchange, state, one, n)
            C = covariance(exchange, a, b)  # 4.
            axes = directions(C, most, 1 + self.gap / n ** (1 / 3))
            if axes.shape[1]:
                points = gather(exchange, (a + b) @ axes)[members]
                of = clusters(points, axes.shape[1] + 1)  # 5.
                state.species[members] = members[[(of == c).argmax() for c in of]]
        state.own[:] = state.species[list(exchange.ids)]
        state.odd[:] = 0
        state.even[:] = 0

    def _deviations(
        self, exchange: Exchange, state: State, one: int, n: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return a and b, (V, SIZE), less their means over the n members; 0 for other workers."""
        sums = np.stack([state.odd, state.even], axis=1)
        sums[state.own != one] = 0
        means = sums.reshape(len(sums), -1).copy()
        exchange.mean(means)
        sums[state.own == one] -= means[0].reshape(2, SIZE) * (exchange.total / n)
        return sums[:, 0], sums[:, 1]


def covariance(
    exchange: Exchange, a: NDArray[np.float64], b: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the symmetric part of sum_i a_i b_i^T, (m, m), up to a factor; a, b: (V, m).

    Collective. m (m + 1) / 2 numbers in float32 travel.
    """
    V, m = a.shape
    upper = np.triu_indices(m)
    sums = exchange.staged(V, len(upper[0]), dtype="float32")
    for row, one, other in zip(sums, a, b, strict=True):
        product = np.outer(one, other)
        row[:] = (product + product.T)[upper]
    exchange.mean(sums)
    C = np.zeros((m, m))
    C[upper] = sums[0]
    C.T[upper] = sums[0]
    return C
