"""Twin of crowding: families, mates and tournaments with all workers in one matrix."""

from collections.abc import Iterable
from itertools import permutations
from math import exp

import numpy as np

from algorithms.crowding import FAMILY_STREAM, TOURNAMENT_STREAM, Crowding
from algorithms.protocol import Algorithm
from tests.algorithms.twin import STEPS, Twin, Twins
from tests.helpers import Array

VARIANTS: dict[str, Algorithm] = {
    "crowding": Crowding(period=6, trial=2),
    "crowding, copies of pairs by a portfolio": Crowding(
        period=7, trial=3, family=2, share=1, rule="probabilistic/boltzmann", temperature=0.3
    ),
}
"""Checkpoints after 5 steps are within a trial, and the second one ends within a trial."""


def nearest(x: Array, members: list[int]) -> list[int]:
    """Return the mates of the smallest sum of distances, by a search over all permutations."""
    choices = [
        p
        for p in permutations(members)
        if all(one != other for one, other in zip(members, p, strict=True))
    ]

    def apart(p: Iterable[int]) -> float:
        return sum(float(np.linalg.norm(x[i] - x[j])) for i, j in zip(members, p, strict=True))

    return list(min(choices, key=apart))


def chance(algorithm: Crowding, gain: float) -> float:
    """Return the probability of the child by the formulas of the papers, with f = exp(gain), 1."""
    if algorithm.rule == "generalised":
        f, phi = exp(gain), algorithm.phi
        return f / (f + phi) if f > 1 else phi * f / (phi * f + 1)
    return (1 / (1 + exp(-gain)) + 1 / (1 + exp(-gain / algorithm.temperature))) / 2


def crowding(twin: Twin, algorithm: Crowding) -> None:
    W, H, T = len(twin.x), algorithm.period, algorithm.trial
    parents, mated, losses = twin.x, np.zeros((W, 1), bool), []
    for k in range(1, STEPS + 1):
        chosen = twin.batches.next()
        h, away = twin.problem.h[chosen], twin.x[:, None] - twin.problem.b[chosen]
        losses.append((h * (away**2).sum(2) / 2).mean(1))
        twin.x = twin.x - twin.direction((h[:, :, None] * away).mean(1))
        if k % H == H - T:
            parents, twin.x = twin.x, twin.x.copy()
            mated = np.zeros((W, 1), bool)
            rng = np.random.default_rng((twin.exchange.seed, FAMILY_STREAM, k))
            groups = np.array_split(rng.permutation(W), -(-W // algorithm.family))
            for members in (sorted(group.tolist()) for group in groups if len(group) > 1):
                mates = parents[nearest(parents, members)]
                mated[members] = True
                twin.x[members] += algorithm.share * (mates - parents[members])
        if k % H == 0:
            gain = np.mean(losses[-2 * T : -T], axis=0) - np.mean(losses[-T:], axis=0)
            drawn = np.random.default_rng((twin.exchange.seed, TOURNAMENT_STREAM, k)).random(W)
            wins = [u < chance(algorithm, float(one)) for u, one in zip(drawn, gain, strict=True)]
            twin.x = np.where(np.array(wins)[:, None] | ~mated, twin.x, parents)
    if STEPS % H >= H - T:
        twin.x = np.where(mated, parents, twin.x)


TWINS: Twins = {Crowding: crowding}
