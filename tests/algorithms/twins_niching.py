"""Twins of crowding, adaptive crowding, IFCA, PBT and ESGD, with all workers in one matrix."""

from collections.abc import Iterable
from itertools import permutations
from math import exp

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from algorithms.adaptive_crowding import AdaptiveCrowding
from algorithms.crowding import FAMILY_STREAM, TOURNAMENT_STREAM, Crowding
from algorithms.esgd import ESGD, NOISE_STREAM, PARENT_STREAM, SURVIVOR_STREAM
from algorithms.ifca import IFCA, initial_models
from algorithms.pbt import EXPLOIT_STREAM, PBT, START_STREAM
from algorithms.protocol import Algorithm
from tests.algorithms.twin import STEPS, Twin, Twins
from tests.helpers import Array, Training

VARIANTS: dict[str, Algorithm] = {
    "crowding": Crowding(period=6, trial=2),
    "crowding, copies of pairs by a portfolio": Crowding(
        period=7, trial=3, family=2, share=1, rule="probabilistic/boltzmann", temperature=0.3
    ),
    "crowding, groups": Crowding(period=6, trial=2, family=3, block=2),
    "crowding, by losses": Crowding(period=6, trial=2, distance="losses"),
    "crowding, groups by losses": Crowding(7, 3, family=2, block=3, distance="losses"),
    "ifca": IFCA(clusters=3, period=3),
    "pbt": PBT(period=6),
    "pbt, tournaments": PBT(period=4, exploit="tournament", spread=1.5),
    "esgd": ESGD(period=6),
    "esgd, three parents": ESGD(period=4, parents=3, sigma=0.1, elite=0.25),
    "adaptive_crowding": AdaptiveCrowding(
        average=1, decide=8, floor=0.0, period=4, trial=2, family=2
    ),
    "adaptive_crowding, averages only": AdaptiveCrowding(
        average=2, decide=8, floor=1e9, period=4, trial=1
    ),
}
"""Checkpoints after 5 steps are within a trial, and the second one ends within a trial."""


def nearest(apart: Array, members: list[int]) -> list[int]:
    """Return the mates of the smallest sum of distances, by a search over all permutations."""
    choices = [
        p
        for p in permutations(members)
        if all(one != other for one, other in zip(members, p, strict=True))
    ]

    def total(p: Iterable[int]) -> float:
        return sum(float(apart[i, j]) for i, j in zip(members, p, strict=True))

    return list(min(choices, key=total))


def chance(algorithm: Crowding, gain: float) -> float:
    """Return the probability of the child by the formulas of the papers, with f = exp(gain), 1."""
    if algorithm.rule == "generalised":
        f, phi = exp(gain), algorithm.phi
        return f / (f + phi) if f > 1 else phi * f / (phi * f + 1)
    return (1 / (1 + exp(-gain)) + 1 / (1 + exp(-gain / algorithm.temperature))) / 2


class Niches:
    """Crowding of some workers: parents, mates and losses."""

    def __init__(self, twin: Twin, algorithm: Crowding) -> None:
        self.twin, self.algorithm, self.losses = twin, algorithm, list[Array]()
        self.parents, self.mated = twin.x, np.zeros((len(twin.x), 1), bool)

    def train(self) -> None:
        """Take a step of training of all workers."""
        twin = self.twin
        chosen = twin.batches.next()
        h, away = twin.problem.h[chosen], twin.x[:, None] - twin.problem.b[chosen]
        self.losses.append((h * (away**2).sum(2) / 2).mean(1))
        twin.x = twin.x - twin.direction(self.group_mean((h[:, :, None] * away).mean(1)))

    def groups(self) -> list[list[int]]:
        """Return the workers of each group."""
        W, n = len(self.twin.x), self.algorithm.block
        return [list(range(i, min(i + n, W))) for i in range(0, W, n)]

    def group_mean(self, values: Array) -> Array:
        """Return the mean over the group in the row of each worker."""
        return np.concatenate([values[x].mean(0) + 0 * values[x] for x in self.groups()])

    def apart(self, families: list[list[int]], x: Array) -> Array:
        """Return the distances of groups: of those of one family, if by losses."""
        groups = self.groups()
        heads, n = [workers[0] for workers in groups], len(groups)
        if self.algorithm.distance == "parameters":
            far: Array = np.linalg.norm(x[heads][:, None] - x[heads], axis=2)
            return far
        losses = np.zeros((len(x), n))
        for slot in range(self.algorithm.family):
            models = x.copy()
            slots = [
                (groups[i], family) for family in families if slot < len(family) for i in family
            ]
            for workers, family in slots:
                models[workers] = x[heads[family[slot]]]
            one = losses_of(self.twin, models)
            for workers, family in slots:
                losses[workers, family[slot]] = one[workers]
        own = losses[range(len(x)), np.arange(len(x)) // self.algorithm.block]
        gap = self.group_mean(np.abs(losses - own[:, None]))[heads]
        return (gap + gap.T) / 2

    def compete(self, k: int, members: NDArray[np.int64]) -> None:
        """Cross or select after step k."""
        twin, algorithm, losses, groups = self.twin, self.algorithm, self.losses, self.groups()
        W, H, T = len(twin.x), algorithm.period, algorithm.trial
        if k % H == H - T:
            self.parents, twin.x = twin.x, twin.x.copy()
            self.mated = np.zeros((W, 1), bool)
            rng = np.random.default_rng((twin.exchange.seed, FAMILY_STREAM, k))
            n = len(members)
            parts = np.array_split(rng.permutation(n), -(-n // algorithm.family)) if n else []
            families = [sorted(members[part].tolist()) for part in parts if len(part) > 1]
            apart = self.apart(families, self.parents) if families else np.empty(0)
            for family in families:
                for group, mate in zip(family, nearest(apart, family), strict=True):
                    workers, model = groups[group], self.parents[groups[mate][0]]
                    self.mated[workers] = True
                    twin.x[workers] += algorithm.share * (model - self.parents[workers])
        if k % H == 0:
            gain = np.mean(losses[-2 * T : -T], axis=0) - np.mean(losses[-T:], axis=0)
            gain = self.group_mean(gain[:, None])[:, 0]
            drawn = np.random.default_rng((twin.exchange.seed, TOURNAMENT_STREAM, k)).random(W)
            drawn = np.repeat(drawn, algorithm.block)[:W]
            wins = [u < chance(algorithm, float(one)) for u, one in zip(drawn, gain, strict=True)]
            twin.x = np.where(np.array(wins)[:, None] | ~self.mated, twin.x, self.parents)
            self.mated[:] = False

    def finish(self) -> None:
        """Return to the parents of an open trial."""
        self.twin.x = np.where(self.mated, self.parents, self.twin.x)


def crowding(twin: Twin, algorithm: Crowding) -> None:
    niches = Niches(twin, algorithm)
    for k in range(1, STEPS + 1):
        niches.train()
        niches.compete(k, np.arange(len(niches.groups())))
    niches.finish()


def adaptive_crowding(twin: Twin, algorithm: AdaptiveCrowding) -> None:
    niches = Niches(twin, Crowding(algorithm.period, algorithm.trial, algorithm.family))
    every, n = np.ones(len(twin.x), bool), algorithm.average
    for k in range(1, STEPS + 1):
        niches.train()
        niches.compete(k, np.flatnonzero(~every))
        if k % n == 0 and every.any():
            twin.x = np.where(every[:, None], twin.x[every].mean(0), twin.x)
        if k in (algorithm.decide * 2**i for i in range(STEPS)):
            late = np.mean(niches.losses[k // 2 : k : n], axis=0)
            early = np.mean(niches.losses[k // 4 : k // 2 : n], axis=0)
            limit, slow = (
                2 * late - early,
                every.any() and late[every].mean() * 2**0.5 > early[every].mean(),
            )
            if slow and limit[every].mean() > algorithm.floor / 2:
                every = every & (limit <= algorithm.floor)
    niches.finish()


def ifca(twin: Twin, algorithm: IFCA) -> None:
    W, K, H = len(twin.x), algorithm.clusters, algorithm.period
    workers = Training(MPI.COMM_SELF, W).workers
    workers.x[:] = twin.x
    models = initial_models(twin.exchange, workers, K).astype(float)
    cluster = np.zeros(W, int)
    for k in range(STEPS):
        if k % H == 0:
            losses = np.zeros((W, K))
            for j in range(K):
                chosen = twin.batches.next()
                h, away = twin.problem.h[chosen], models[j] - twin.problem.b[chosen]
                losses[:, j] = (h * (away**2).sum(2) / 2).mean(1)
            cluster = losses.argmin(1)
            twin.x = models[cluster]
        twin.x = twin.x - twin.direction(twin.gradient(twin.x))
        if k % H == H - 1:
            for j in set(cluster.tolist()):
                models[j] = twin.x[cluster == j].mean(0)
            twin.x = models[cluster]


def losses_of(twin: Twin, x: Array) -> Array:
    """Return the losses of models at the next minibatches, (W,)."""
    chosen = twin.batches.next()
    losses: Array = (
        twin.problem.h[chosen] * ((x[:, None] - twin.problem.b[chosen]) ** 2).sum(2) / 2
    ).mean(1)
    return losses


def pbt(twin: Twin, algorithm: PBT) -> None:
    W, H, seed = len(twin.x), algorithm.period, twin.exchange.seed
    exponents = np.random.default_rng((seed, START_STREAM)).uniform(-1, 1, W)
    factors = algorithm.spread**exponents
    niches = Niches(twin, Crowding())
    for k in range(1, STEPS + 1):
        before = twin.x
        niches.train()
        twin.x = before + factors[:, None] * (twin.x - before)
        if k % H == 0:
            loss = np.sum(niches.losses[-(H - H // 2) :], axis=0)
            rng, of = np.random.default_rng((seed, EXPLOIT_STREAM, k)), list(range(W))
            if algorithm.exploit == "truncation":
                best = sorted(of, key=lambda i: loss[i])
                n = W // 5 or W // 2
                for worst, drawn in zip(best[W - n :], rng.integers(n, size=n), strict=True):
                    of[worst] = best[drawn]
            else:
                others = [
                    (i + int(step)) % W for i, step in enumerate(rng.integers(1, max(2, W), size=W))
                ]
                of = [j if loss[j] < loss[i] else i for i, j in enumerate(others)]
            change = rng.choice([1.2, 0.8], W)
            twin.x = twin.x[of]
            factors = np.array(
                [factors[j] * (change[i] if i != j else 1) for i, j in enumerate(of)]
            )


def esgd(twin: Twin, algorithm: ESGD) -> None:
    """Keep the 2 W models in one list: those of the workers, then their children."""
    (W, d), H, seed = twin.x.shape, algorithm.period, twin.exchange.seed
    start = twin.x
    for k in range(1, STEPS + 1):
        twin.x = twin.x - twin.direction(twin.gradient(twin.x))
        if k % H:
            continue
        now, then = losses_of(twin, twin.x), losses_of(twin, start)
        x = np.where((then < now)[:, None], start, twin.x)
        ring = np.random.default_rng((seed, PARENT_STREAM, k)).permutation(W).tolist()
        children = np.zeros((W, d))
        for position, i in enumerate(ring):
            rho = min(algorithm.parents, W)
            parents = [ring[(position + n) % W] for n in range(rho)]
            noise = np.random.default_rng((seed, NOISE_STREAM, k, i)).normal(0, algorithm.sigma, d)
            children[i] = x[parents].mean(0) + noise
        loss = [*np.minimum(now, then).tolist(), *losses_of(twin, children).tolist()]
        order, m = sorted(range(2 * W), key=lambda i: loss[i]), round(algorithm.elite * W)
        rest = np.random.default_rng((seed, SURVIVOR_STREAM, k)).permutation(order[m:]).tolist()
        survivors = {*order[:m], *rest[: W - m]}
        spare = [W + i for i in range(W) if {i, W + i} <= survivors]
        models, chosen = np.concatenate([x, children]), list[int]()
        for i in range(W):
            chosen.append(i if i in survivors else W + i if W + i in survivors else spare.pop(0))
        start = twin.x = models[chosen]


TWINS: Twins = {
    Crowding: crowding,
    AdaptiveCrowding: adaptive_crowding,
    IFCA: ifca,
    PBT: pbt,
    ESGD: esgd,
}
MORE_THAN_SGD = (IFCA, PBT, ESGD)
