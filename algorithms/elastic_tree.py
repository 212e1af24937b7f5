"""Elastic averaging on a tree with workers as leaves and centres as inner nodes (EASGD Tree).

Zhang: Distributed stochastic optimization for deep learning, PhD thesis, New York University 2016,
the chapter on EASGD Tree.
Symbols: x_i parameters and g_i gradient of worker i of W, d the branching, c_a an inner node, the
centre of n_a <= d children. Level 1 holds the parents of workers, each further level the parents of
up to d nodes of the level below, up to one root. alpha is the moving rate, tau the period, r the
ratio of the periods of consecutive levels.
Departures: (1) exchanges are synchronous and both ends of an edge move by the same amount, while
nodes of the thesis send asynchronously; (2) an edge has one period for both directions, by its
level; (3) levels exchange one after another, from the workers up; (4) no server stores the inner
nodes: each rank stores the ancestors of its workers, and all copies of a node are equal to the bit;
(5) the default alpha is 0.9 / d, that of EASGD with d workers.

    1. g_i <- gradient of the next minibatch at x_i
    2. level by level l = 1, 2, ..., every tau r^(l - 1) steps, from the old values of that level:
         child y of a:  y <- y - alpha (y - c_a)
         c_a <- c_a + alpha n_a (mean of the children - c_a)
    3. x_i <- base optimiser step along g_i

Conserved by 2: the sum over all workers and inner nodes, since the children of a together lose what
a gains, alpha sum (y - c_a) = alpha n_a (mean - c_a). The exchange of a node with n children has
the eigenvalues 1 - alpha and 1 - alpha (n + 1), so alpha (n + 1) must be below 2. With d >= W this
is elastic_averaging. Workers do not reach consensus: on very heterogeneous shards the mean model is
less accurate than that of averaging methods.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from algorithms.elastic_averaging import PAPER_BETA
from algorithms.protocol import FRESH, SCRATCH, Algorithm, Exchange, Rows, Workers


@dataclass
class State:
    """Step count k, the ancestors of this rank's workers by level, and scratch."""

    k: int
    nodes: list[Rows]
    """(V, d) per level: the ancestor of every worker."""
    shares: list[Rows] = field(metadata=FRESH)
    """(V, 1) per level: weights that turn a mean over workers into a mean over children."""
    rates: list[Rows] = field(metadata=FRESH)
    """(V, 1) per level: alpha times the ancestor's number of children."""
    mean: Rows = field(metadata=SCRATCH)
    """(V, d)."""
    pull: Rows = field(metadata=SCRATCH)
    """(V, d)."""


@dataclass(frozen=True)
class ElasticTree(Algorithm):
    """Elastic averaging on a tree of centres, less often at higher levels (EASGD Tree)."""

    branching: int = field(default=4, metadata={"help": "children of an inner node, d"})
    period: int = field(default=1, metadata={"help": "steps between exchanges of workers, tau"})
    ratio: int = field(
        default=2, metadata={"help": "factor of the period from one level to the next"}
    )
    alpha: float | None = field(
        default=None, metadata={"help": "moving rate along an edge; default: 0.9 / children"}
    )

    def __post_init__(self) -> None:
        if self.branching < 2:
            raise ValueError(f"branching must be >= 2, got {self.branching}")
        for name in ("period", "ratio"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        if self.alpha is not None and not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha must be in [0, 1], got {self.alpha}")

    def moving_rate(self, total: int) -> float:
        """Return alpha for `total` workers."""
        children = min(self.branching, total)
        return PAPER_BETA / children if self.alpha is None else self.alpha

    def check(self, total: int) -> None:
        """Raise ValueError if alpha is so large that an inner node diverges."""
        children = min(self.branching, total)
        if self.moving_rate(total) * (children + 1) >= 2:
            raise ValueError(
                f"alpha must be below 2 / (children + 1) = {2 / (children + 1):g}, got "
                f"{self.alpha}: a node with {children} children diverges; omit alpha for "
                "0.9 / children"
            )

    def exchange_interval(self, total: int) -> int:
        """Return the period."""
        return self.period

    def exchange_cycle(self, total: int) -> int:
        """Return the period of the root, tau r^(levels - 1)."""
        cycle, below = self.period, self.branching
        while below < total:
            cycle, below = cycle * self.ratio, below * self.branching
        return cycle

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0, every inner node at the common start."""
        x, total, alpha = workers.x, workers.total, self.moving_rate(workers.total)
        state = State(0, [], [], [], exchange.like(x), exchange.like(x))
        below = 1  # workers under a child
        while below < total or not state.nodes:
            under = self.branching * below
            centre = exchange.like(x)
            centre[:] = x
            share, rate = (exchange.like(x, len(x), 1) for _ in range(2))
            for i, worker in enumerate(workers.ids):
                own, all_under = (min(n, total - worker // n * n) for n in (below, under))
                children = -(-all_under // below)
                share[i], rate[i] = all_under / (children * own), alpha * children
            state.nodes.append(centre)
            state.shares.append(share)
            state.rates.append(rate)
            below = under
        return state

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""
        alpha, child = self.moving_rate(workers.total), workers.x
        workers.gradient()  # 1.
        state.k += 1
        for level, (share, rate) in enumerate(zip(state.shares, state.rates, strict=True)):  # 2.
            if state.k % (self.period * self.ratio**level):
                break  # higher levels have multiples of this period
            centre = state.nodes[level]
            state.mean[:] = child
            state.mean *= share
            exchange.mean(state.mean, group=self.branching ** (level + 1))
            state.pull[:] = child
            state.pull -= centre
            state.pull *= alpha
            child -= state.pull
            state.mean -= centre
            state.mean *= rate
            centre += state.mean
            child = centre
        workers.update()  # 3.

    def rebalance(
        self, exchange: Exchange, workers: Workers, state: State, new: NDArray[np.bool_]
    ) -> None:
        """Set the ancestors of workers that have become siblings to their mean."""
        for level, nodes in enumerate(state.nodes):
            exchange.mean(nodes, group=self.branching ** (level + 1))
