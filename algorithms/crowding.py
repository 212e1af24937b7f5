"""Crowding: workers compete with the means of their families, and niches remain.

Mengshoel, Goldberg: The Crowding Approach to Niching in Genetic Algorithms, Evolutionary
Computation 16(3), 2008; Galan, Mengshoel: Generalized Crowding for Genetic Algorithms, GECCO 2010.
Here a population of models is niched, and the variation is training.
Symbols: x_i parameters of worker i of W, p_i its parent, m(i) its mate, a the share of the mate,
l the mean loss of a worker's own minibatches over T steps of trial, H the period, k the step.
Departures: (1) the offspring of worker i is an interpolation of two models, which then trains for
T steps: its first steps of training are its trial; (2) the fitness is exp(-l) on the worker's own
shard, so every worker has a landscape of its own; (3) momentum stays local and is not part of an
individual; (4) with family=2 and odd W one worker sits out a round; (5) with block=n the
individuals are groups of n workers, which share one model by all-reduce SGD: islands with crowding
between them; (6) the distance of two models is that of their parameters, or their disagreement: the
difference of their losses on the minibatches of either worker, the mean over both.

    1. g_i <- gradient of the next minibatch at x_i;  x_i <- base optimiser step along g_i
    after step H - T of each period:
    2. random disjoint families; in each, mates m of the smallest sum of |x_i - x_m(i)|
    3. p_i <- x_i;  x_i <- (1 - a) x_i + a x_m(i)
    after step H:
    4. x_i <- p_i unless the child wins: gain = l of the T steps before 3 - l of the T steps since

Between two workers whose data agree, the mean wins and they share a model. Between two whose data
contradict each other it loses, and the niches stay apart. No worker needs to know the number of
niches. A family of S sends S - 1 rows a worker and period; 4 needs no message. Disagreement costs S
gradients a period, and S - 1 messages of S numbers.
"""

from dataclasses import dataclass, field
from math import inf
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from algorithms.niching.families import LARGEST, families, mates, nearest, relatives
from algorithms.niching.rules import RULES, portfolio
from algorithms.protocol import Algorithm, Exchange, Needs, Rows, Vector, Workers
from algorithms.topologies.protocol import Links, links

FAMILY_STREAM, TOURNAMENT_STREAM = 21, 22
"""Random streams of the families and the tournaments, distinct from other streams of the seed."""
DISTANCES = ("parameters", "losses")


@dataclass
class State:
    """Step count k, the parents, and the sums of losses of parents and children."""

    k: int
    parents: Rows
    """(V, d) rows before the trial."""
    before: Vector
    """(V,) sum of the losses of the parents over the steps before the trial; inf without a mate."""
    since: Vector
    """(V,) sum of the losses of the children over the steps of the trial."""


@dataclass(frozen=True)
class Crowding(Algorithm):
    """Tournaments between own models and means within families: niches, not one consensus."""

    period: int = field(default=16, metadata={"help": "steps between tournaments, H"})
    trial: int = field(default=4, metadata={"help": "steps of trial, T, at most half a period"})
    family: int = field(
        default=4,
        metadata={"help": f"workers of a family, 2 to {LARGEST}; mates are near in parameters"},
    )
    share: float = field(default=0.5, metadata={"help": "share of the mate in a child; 1: a copy"})
    rule: str = field(
        default="generalised",
        metadata={"help": f"{', '.join(RULES)}; several, as in a/b/b: one drawn per tournament"},
    )
    phi: float = field(
        default=0.5, metadata={"help": "chance of the worse in the rule generalised, 0: none"}
    )
    temperature: float = field(
        default=0.1, metadata={"help": "temperature of the rule boltzmann, in units of the loss"}
    )
    block: int = field(
        default=1,
        metadata={
            "help": "consecutive workers of a group, which shares one model; 1: every worker alone",
            "later": True,
        },
    )
    distance: str = field(
        default="parameters",
        metadata={
            "help": "distance of models; losses: on minibatches of both workers",
            "choices": DISTANCES,
            "later": True,
        },
    )
    needs: ClassVar[Needs] = Needs(elementwise=False)

    def __post_init__(self) -> None:
        if self.period < 2:
            raise ValueError(f"period must be >= 2, got {self.period}")
        if not 1 <= 2 * self.trial <= self.period:
            raise ValueError(
                f"trial must be in [1, period / 2], got {self.trial} of period {self.period}"
            )
        if self.block < 1:
            raise ValueError(f"block must be >= 1, got {self.block}")
        if not 2 <= self.family <= LARGEST:
            raise ValueError(f"family must be in [2, {LARGEST}], got {self.family}")
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be in (0, 1], got {self.share}")
        for name in self.rules:
            if name not in RULES:
                raise ValueError(
                    f"rule must be of {', '.join(RULES)}, or several separated by /, got {name!r}"
                )
        if not 0 <= self.phi < inf:
            raise ValueError(f"phi must be finite and >= 0, got {self.phi}")
        if not 0 < self.temperature < inf:
            raise ValueError(f"temperature must be finite and > 0, got {self.temperature}")

    @property
    def rules(self) -> list[str]:
        """Names of the rules of the portfolio."""
        return self.rule.split("/")

    def exchange_interval(self, total: int) -> int:
        """Return the period; tournaments are at its end."""
        return self.period

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0."""
        V = len(workers.x)
        return State(0, exchange.like(workers.x), exchange.staged(V), exchange.staged(V))

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""
        if self.block > 1:
            losses = workers.gradient()
            exchange.mean(workers.g, group=self.block)
            workers.update()  # 1.
        else:
            losses = workers.step()  # 1.
        groups = -(-exchange.total // self.block)
        self.compete(exchange, workers, state, losses, np.arange(groups))

    def compete(
        self,
        exchange: Exchange,
        workers: Workers,
        state: State,
        losses: NDArray[np.floating],
        members: NDArray[np.int64],
    ) -> None:
        """Take steps 2. to 4. after a step of training; members: groups, ascending."""
        position, cross = state.k % self.period, self.period - self.trial
        if position >= cross:
            state.since += losses
        elif position >= cross - self.trial:
            state.before += losses
        state.k += 1
        if position + 1 == cross:
            self._cross(exchange, workers, state, members)  # 2., 3.
        elif position + 1 == self.period:
            self._select(exchange, workers, state)  # 4.

    def finish(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Return to the parents of a trial that has not ended."""
        if state.k % self.period >= self.period - self.trial:
            mated = abs(state.before) < inf
            workers.x[mated] = state.parents[mated]

    def settle(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Leave an open trial to the workers that stay."""

    def rebalance(
        self, exchange: Exchange, workers: Workers, state: State, new: NDArray[np.bool_]
    ) -> None:
        """Leave new workers out of an open tournament."""
        if self.block > 1:  # other workers are neighbours now
            exchange.mean(workers.x, group=self.block)
            new = new | True
        state.parents[new] = workers.x[new]
        state.before[new] = inf

    def _cross(
        self, exchange: Exchange, workers: Workers, state: State, members: NDArray[np.int64]
    ) -> None:
        """Keep the parents and set x to the children."""
        x = workers.x
        state.parents[:] = x
        rng = exchange.rng(FAMILY_STREAM, state.k)
        groups = families(len(members), self.family, rng) if len(members) else []
        graph = self._links(exchange.total, relatives([members[group] for group in groups]))
        ids, d = workers.ids, x.shape[1]
        came = exchange.staged(int(graph.in_degree[list(ids)].sum()), d, dtype=x.dtype)
        exchange.deliver(x, graph, came)
        kin = self._kin(graph, ids)
        known = self.distance == "losses" and len(graph.source) > 0
        apart = self._disagreement(exchange, workers, graph, came, kin) if known else []
        x[:] = state.parents
        together = exchange.staged(self.family, d, dtype=x.dtype)
        for i, (rows, own) in enumerate(kin):
            others = came[rows]
            if not len(others):
                state.before[i] = inf  # no child: x stays
                continue
            family = together[: len(others) + 1]
            family[:own], family[own], family[own + 1 :] = others[:own], x[i], others[own:]
            mate = family[(nearest(apart[i]) if known else mates(family))[own]]
            mate *= self.share
            x[i] *= 1 - self.share
            x[i] += mate

    def _links(self, total: int, near: NDArray[np.int64]) -> Links:
        """Return the links between the workers of groups; near: (n, 2) pairs of groups.

        A worker hears the one at its place in the other group, or the last one of a smaller group.
        """
        place = np.arange(self.block)
        source = np.minimum(near[:, :1] * self.block + place, total - 1)
        target = near[:, 1:] * self.block + place
        return links(total, source[target < total], target[target < total])

    def _kin(self, graph: Links, ids: range) -> list[tuple[slice, int]]:
        """Return the rows of each worker's relatives, and its own place among them."""
        result, start = [], 0
        for worker in ids:
            others = graph.source[graph.target == worker] // self.block
            rows = slice(start, start + len(others))
            result.append((rows, int(others.searchsorted(worker // self.block))))
            start = rows.stop
        return result

    def _disagreement(
        self,
        exchange: Exchange,
        workers: Workers,
        graph: Links,
        came: Rows,
        kin: list[tuple[slice, int]],
    ) -> list[NDArray[np.float64]]:
        """Return the distances by losses within the family of each worker, (n, n); x changes."""
        x, V = workers.x, len(workers.x)
        own = exchange.like(x)
        own[:] = x
        gap = exchange.staged(V, self.family)
        for n in range(self.family):
            x[:] = own
            for i, (rows, at) in enumerate(kin):
                if n != at and n <= len(came[rows]):
                    x[i] = came[rows][n - (n > at)]
            gap[:, n] = workers.gradient()
        gap -= gap[list(range(V)), [at for _, at in kin]][:, None]
        np.abs(gap, out=gap)
        if self.block > 1:
            exchange.mean(gap, group=self.block)
        others = exchange.staged(len(came), self.family)
        exchange.deliver(gap, graph, others)
        result = []
        for i, (rows, at) in enumerate(kin):
            every = np.insert(others[rows], at, gap[i], axis=0)[:, : len(others[rows]) + 1]
            result.append((every + every.T) / 2)
        return result

    def _select(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Return to the parent where the child loses."""
        gain = (state.before - state.since) / self.trial
        if self.block > 1:
            exchange.mean(gain[:, None], group=self.block)
        chance = portfolio(self.rules, gain, self.phi, self.temperature)
        rng = exchange.rng(TOURNAMENT_STREAM, state.k)
        lost = rng.random(exchange.total)[[i // self.block for i in workers.ids]] >= chance
        workers.x[lost] = state.parents[lost]
        state.before[:] = state.since[:] = 0
