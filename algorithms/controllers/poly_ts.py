"""PolyTS: Thompson sampling over a grid of several options, with a polynomial reward.

Yu, Kveton, Mengshoel: Thompson Sampling for Optimizing Stochastic Local Search, ECML PKDD 2017,
model the reward of a search as a polynomial of low degree in its parameters and learn the
coefficients; here the parameters are options of training, and the reward of a segment is the drop
of the log loss per second of the clock of the run.
Symbols: x a point of the grid, phi(x) its monomials up to degree d, theta their coefficients, D
their number: 10 for three options and d = 2, independent of the size of the grid.

    1. theta ~ posterior N(m, S); play the point with the largest theta . phi(x)
    2. train a segment with it; the reward r is the drop of the log loss over its seconds
    3. forget by exp(-steps / tau); posterior of theta given r = theta . phi(x) + noise

Departs from the paper: (1) the noise variance is learned, so that the unit of the reward does not
matter; (2) rewards are forgotten, since training is not stationary; (3) coordinates are the places
in the list of values, from -1 to 1: values that double are evenly spaced.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from math import exp, isfinite

import numpy as np

from algorithms.controllers.posteriors import LinearReward, Values, grid, monomials
from algorithms.controllers.protocol import Controller, Decision, Observation, Setting
from algorithms.controllers.varying import Course, check_variants, split, variants
from algorithms.protocol import Algorithm

BETWEEN = "//"
"""Separator of the lists of values of two options."""
LARGEST = 1024
"""Maximum number of points of the grid."""


@dataclass(kw_only=True)
class Memory(Course):
    """Posterior of the coefficients, and the course of training."""

    reward: LinearReward


@dataclass(frozen=True)
class PolyTS(Controller):
    """Choose several options by Thompson sampling with a polynomial reward (PolyTS)."""

    option: str = field(
        default="period/alpha", metadata={"help": "options of the algorithm to vary, as in a/b"}
    )
    values: str = field(
        default="1/2/4/8/16//0.1/0.3/0.5/0.7/0.9",
        metadata={"help": "values of each option in order, lists separated by //"},
    )
    degree: int = field(default=2, metadata={"help": "degree of the polynomial, 1 to 4"})
    span: int = field(default=8, metadata={"help": "minimum number of steps of a segment"})
    tau: float = field(
        default=1000.0, metadata={"help": "steps after which a reward counts 1 / e; 0: never"}
    )

    def __post_init__(self) -> None:
        if not 1 <= self.degree <= 4:
            raise ValueError(f"degree must be in [1, 4], got {self.degree}")
        if self.span < 1:
            raise ValueError(f"span must be >= 1, got {self.span}")
        if not 0 <= self.tau < float("inf"):
            raise ValueError(f"tau must be >= 0 and finite, got {self.tau}")
        names, lists = split(self.option), self.values.split(BETWEEN)
        if len(names) != len(lists) or len(set(names)) != len(names):
            raise ValueError(
                f"values must be one list for each option, separated by {BETWEEN}, got "
                f"{len(lists)} lists for {self.option!r}"
            )
        if not 2 <= self._size() <= LARGEST:
            raise ValueError(f"values must be 2 to {LARGEST} combinations, got {self._size()}")

    def check(self, setting: Setting) -> None:
        """Raise ValueError if the algorithm refuses a value of an option or a combination."""
        for name, values in zip(split(self.option), self.values.split(BETWEEN), strict=True):
            check_variants(setting.algorithm, name, values, setting.workers)
        for text, algorithm in zip(self.arms(setting), self._variants(setting), strict=True):
            try:
                algorithm.check(setting.workers)
            except ValueError as error:
                raise ValueError(f"arm {text}: {error}") from None

    def arms(self, setting: Setting) -> list[str]:
        """Return the points of the grid, as in period=2/alpha=0.5."""
        names = split(self.option)
        return [
            "/".join(f"{name}={value}" for name, value in zip(names, point, strict=True))
            for point in product(*self._lists())
        ]

    def memory(self, setting: Setting) -> Memory:
        """Return the prior."""
        return Memory(reward=LinearReward.of(self._features().shape[1]))

    def decide(self, setting: Setting, last: Observation, memory: Memory) -> Decision:
        """Draw the coefficients; return the best point and a segment of whole rounds."""
        phi = self._features()
        mean, deviation = memory.reward.posterior(phi)
        arm = int(memory.reward.draw(phi, setting.rng(last.round)).argmax())
        algorithm = self._variants(setting)[arm]
        steps, _ = memory.segment(algorithm.exchange_interval(setting.workers), self.span)
        return Decision(algorithm, steps, arm, tuple(mean.tolist()), tuple(deviation.tolist()))

    def observe(
        self, setting: Setting, segment: Observation, decision: Decision, memory: Memory
    ) -> float:
        """Update the posterior by the drop of the log loss per second; return it."""
        period = decision.algorithm.exchange_interval(setting.workers)
        _, reward = memory.advance(segment, period)
        if isfinite(reward):
            keep = exp(-segment.steps / self.tau) if self.tau else 1.0
            memory.reward.update(self._features()[decision.arm], reward, keep)
        return reward

    def _lists(self) -> list[list[str]]:
        """Return the values of each option."""
        return [split(values) for values in self.values.split(BETWEEN)]

    def _size(self) -> int:
        """Return the number of points of the grid."""
        return int(np.prod([len(values) for values in self._lists()]))

    def _features(self) -> Values:
        """Return the monomials of every point, (A, D)."""
        return monomials(grid([len(values) for values in self._lists()]), self.degree)

    def _variants(self, setting: Setting) -> list[Algorithm]:
        """Return the algorithm of each point."""
        result = [setting.algorithm]
        for name, values in zip(split(self.option), self.values.split(BETWEEN), strict=True):
            result = [x for algorithm in result for x in variants(algorithm, name, values)]
        return result
