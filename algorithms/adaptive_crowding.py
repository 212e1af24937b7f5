"""Local SGD that turns into crowding where one consensus cannot be right.

Averages serve workers whose data are skewed, niches those whose data contradict each other, and a
worker's own loss at one step does not tell which it is. Its course does: without a contradiction
the loss at averages falls towards zero, about as 1 / k; workers that contradict each other keep a
loss, ln 2 for two populations of equal size. The loss in the limit is extrapolated, unless the loss
still falls faster than 1 / sqrt k: early in training on shards of one class it falls slowly, and
then faster and faster.
Mengshoel, Goldberg: The Crowding Approach to Niching in Genetic Algorithms, Evolutionary
Computation 16(3), 2008 (niching, as in algorithms/crowding.py); Sattler, Müller, Samek: Clustered
Federated Learning, IEEE TNNLS 32(8), 2021 (averages first, then a split where they cannot serve
all). Departs from both: (1) the split is decided by losses, not by gradients; (2) the number of
populations is not decided: crowding finds the niches.
Symbols: H steps between averages, K steps before a decision, m_i(a, b) the mean of the losses of
worker i in the first step after each average in steps a to b, f_i its loss in the limit.

    1. g_i <- gradient of the next minibatch at x_i;  x_i <- base optimiser step along g_i
    after every H steps:
    2. x_i <- mean of x_j over the workers that average
    after K, 2 K, 4 K, .. = k steps:
    3. f_i <- 2 m_i(k / 2, k) - m_i(k / 4, k / 2), which is exact for a loss f_i + c / k
    4. if m has fallen by less than sqrt 2 between the two and the mean of f_i exceeds F / 2:
         workers with f_i > F stop to average
    5. workers that do not average compete: steps 2. to 4. of crowding
"""

from dataclasses import dataclass, field
from math import inf, log, sqrt
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from algorithms import crowding
from algorithms.crowding import Crowding
from algorithms.niching.families import LARGEST
from algorithms.protocol import SCRATCH, Algorithm, Exchange, Needs, Rows, Workers


@dataclass
class State:
    """Step count k, the state of crowding, and the losses at averages."""

    k: int
    niches: crowding.State
    averages: NDArray[np.bool_]
    """(W,) the workers that average, equal on all ranks."""
    late: NDArray[np.float64]
    """(V,) sum of the losses after averages in the second half of the steps to the decision."""
    early: NDArray[np.float64]
    """(V,) the same in the second quarter."""
    masked: Rows = field(metadata=SCRATCH)
    """(V, d) rows of the workers that average, zero for others."""


@dataclass(frozen=True)
class AdaptiveCrowding(Algorithm):
    """Averages first; niches for workers whose loss at averages cannot fall to zero."""

    average: int = field(default=8, metadata={"help": "steps between averages, H"})
    decide: int = field(default=384, metadata={"help": "steps before the first decision, K"})
    floor: float = field(
        default=round(log(2) / 2, 3),
        metadata={"help": "loss in the limit above which a worker stops to average, F"},
    )
    period: int = field(default=16, metadata={"help": "steps between tournaments of niches"})
    trial: int = field(default=4, metadata={"help": "steps of trial, at most half a period"})
    family: int = field(default=4, metadata={"help": f"workers of a family, 2 to {LARGEST}"})
    needs: ClassVar[Needs] = Needs(elementwise=False)

    def __post_init__(self) -> None:
        self.niching()
        if self.average < 1:
            raise ValueError(f"average must be >= 1, got {self.average}")
        if self.decide < 1 or self.decide % (4 * self.average) or self.decide % self.period:
            raise ValueError(
                f"decide must be a multiple of 4 average = {4 * self.average} and of period = "
                f"{self.period}, got {self.decide}"
            )
        if self.period % self.average:
            raise ValueError(
                f"period must be a multiple of average = {self.average}, got {self.period}"
            )
        if not 0 <= self.floor < inf:
            raise ValueError(f"floor must be finite and >= 0, got {self.floor}")

    def niching(self) -> Crowding:
        """Return the crowding of workers that do not average; ValueError for its options."""
        return Crowding(self.period, self.trial, self.family)

    def exchange_interval(self, total: int) -> int:
        """Return the period, at the end of which no trial is open."""
        return self.period

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0: all workers average."""
        V = len(workers.x)
        niches = self.niching().init(exchange, workers)
        every = exchange.staged(exchange.total, dtype="bool")
        every[:] = True
        late, early = (exchange.staged(V) for _ in range(2))
        return State(0, niches, every, late, early, exchange.like(workers.x))

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""
        losses = workers.step()  # 1.
        if state.k % self.average == 0:
            self._observe(state, losses)
        if not state.averages.all():  # 5.
            members = (~state.averages).nonzero()[0]
            state.niches.k = state.k
            self.niching().compete(exchange, workers, state.niches, losses, members)
        state.k += 1
        if state.k % self.average == 0 and state.averages.any():
            self._average(exchange, workers, state)  # 2.
        if state.k == self._next(state.k - 1):
            self._decide(exchange, state)  # 3., 4.

    def finish(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Return to the parents of a trial that has not ended."""
        if not state.averages.all():
            self.niching().finish(exchange, workers, state.niches)

    def settle(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Leave an open trial to the workers that stay."""

    def rebalance(
        self, exchange: Exchange, workers: Workers, state: State, new: NDArray[np.bool_]
    ) -> None:
        """Leave new workers out of an open tournament."""
        self.niching().rebalance(exchange, workers, state.niches, new)

    def _next(self, k: int) -> int:
        """Return the step of the next decision after k steps."""
        at = self.decide
        while at <= k:
            at *= 2
        return at

    def _observe(self, state: State, losses: NDArray[np.floating]) -> None:
        """Add the losses in the step after an average."""
        end = self._next(state.k)
        if state.k >= end // 2:
            state.late += losses
        elif state.k >= end // 4:
            state.early += losses

    def _average(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Set x to the mean over the workers that average."""
        x, own = workers.x, state.averages[list(workers.ids)]
        if state.averages.all():
            exchange.mean(x)
            return
        state.masked[:] = x
        state.masked *= own[:, None]
        exchange.mean(state.masked)
        state.masked *= exchange.total / state.averages.sum()
        x[own] = state.masked[own]

    def _decide(self, exchange: Exchange, state: State) -> None:
        """Let workers leave the average whose loss in the limit exceeds the floor."""
        count = state.k // self.average // 4  # averages in the second quarter
        means = exchange.staged(len(state.late), 2 * exchange.total)
        at, ids = list(range(len(state.late))), list(exchange.ids)
        means[at, ids] = state.early / count
        means[at, [exchange.total + i for i in ids]] = state.late / (2 * count)
        exchange.mean(means)
        early, late = means[0].reshape(2, -1) * exchange.total
        limit, mean = 2 * late - early, state.averages
        slow = mean.any() and late[mean].mean() * sqrt(2) > early[mean].mean()
        if slow and limit[mean].mean() > self.floor / 2:
            state.averages &= limit <= self.floor
        state.early[:] = state.late
        state.late[:] = 0
