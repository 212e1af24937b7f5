"""Thompson sampling over an option of the algorithm.

Yu, Kveton, Mengshoel: Thompson Sampling for Optimizing Stochastic Local Search, ECML PKDD 2017,
choose the parameters of a search while it runs; here an arm is a value of an option, and the reward
of a segment is the drop of the log loss per second of the clock of the run.
Symbols: H a period of m rounds in a segment, D the drop of the log loss, g the seconds of a step,
c those of an exchange, tau the steps after which an observation counts 1 / e.

    1. draw the value of every arm from the posterior, as the mean of `draws` draws
    2. train a segment with the best arm; D is between the losses in its last step and in that of
       the segment before: with a period, the step after an average, so that D compares averages
    3. forget by exp(-steps / tau), and update the posterior by D

Model `law`, for a period: D = A m H^b with one posterior of A and b for all arms, and the value
A H^b / (g H + c) with g and c fitted to the seconds of the segments, instead of learned by arm; the
period grows by one arm at a time. Model `gaussian`, for every option: independent arms, each tried
once. Departs from the paper: arms are options of training, not of a search, and rewards are
forgotten, since training is not stationary.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import exp, isfinite

import numpy as np

from algorithms.controllers.posteriors import GaussianArms, PowerLaw, Values
from algorithms.controllers.protocol import Controller, Decision, Observation, Setting
from algorithms.controllers.varying import Course, check_variants, split, variants
from algorithms.protocol import Algorithm

PERIOD, POWERS = "period", "1/2/4/8/16/32/64"
MODELS = ("auto", "law", "gaussian")


@dataclass(kw_only=True)
class Memory(Course):
    """Posteriors, costs, the arm of the last segment, and the course of training."""

    arms: GaussianArms
    law: PowerLaw
    normal: Values
    """(2, 2) sum of n n^T over the segments, n = (steps, exchanges)."""
    spent: Values
    """(2,) sum of n times the seconds of the segment."""
    arm: int = -1
    """Arm of the last segment; -1 before the first one."""

    def costs(self) -> tuple[float, float]:
        """Return the seconds of a step and of an exchange; equal until two periods tell them."""
        a, b, d = self.normal[0, 0], self.normal[0, 1], self.normal[1, 1]
        determinant = a * d - b * b
        if determinant <= 1e-9 * a * d:
            each = float(self.spent[0] / (a + b)) if a else 1.0
            return each, each
        step, exchange = np.linalg.solve(self.normal, self.spent).tolist()
        return max(step, 1e-12), max(exchange, 0.0)


@dataclass(frozen=True)
class Thompson(Controller):
    """Choose an option by Thompson sampling on the drop of the loss per second."""

    option: str = field(default=PERIOD, metadata={"help": "option of the algorithm to vary"})
    values: str = field(
        default="",
        metadata={"help": f"values to choose from, as in 1/2/4; default of a period: {POWERS}"},
    )
    model: str = field(
        default="auto",
        metadata={"help": "posterior; auto: law for a period, else gaussian", "choices": MODELS},
    )
    span: int = field(default=8, metadata={"help": "minimum number of steps of a segment"})
    draws: int = field(default=3, metadata={"help": "draws of which the mean is taken"})
    tau: float = field(
        default=1000.0, metadata={"help": "steps after which a reward counts 1 / e; 0: never"}
    )

    def __post_init__(self) -> None:
        for name, least in (("span", 1), ("draws", 1), ("tau", 0)):
            value = getattr(self, name)
            if not least <= value < float("inf"):
                raise ValueError(f"{name} must be >= {least} and finite, got {value}")
        if self.option != PERIOD and self.model == "law":
            raise ValueError(f"model law is about a period, got option {self.option}: use gaussian")
        if self.option != PERIOD and not self.values:
            raise ValueError(f"option {self.option} has no default values: give values=A/B/C")

    def check(self, setting: Setting) -> None:
        """Raise ValueError if the algorithm refuses an arm."""
        check_variants(setting.algorithm, self.option, self.values or POWERS, setting.workers)
        periods = self._periods(setting)
        if len(periods) < 2:
            raise ValueError(f"values must be two or more, got {self.values!r}")
        if self._law() and ((periods < 1).any() or (np.diff(periods) <= 0).any()):
            raise ValueError(f"values of a period must increase from 1 on, got {self.values!r}")

    def arms(self, setting: Setting) -> list[str]:
        """Return the values."""
        return split(self.values or POWERS)

    def memory(self, setting: Setting) -> Memory:
        """Return the prior."""
        arms = GaussianArms.of(len(self.arms(setting)))
        return Memory(arms=arms, law=PowerLaw(), normal=np.zeros((2, 2)), spent=np.zeros(2))

    def decide(self, setting: Setting, last: Observation, memory: Memory) -> Decision:
        """Draw the value of every arm; return the best one and a segment of whole rounds."""
        periods, rng = self._periods(setting), setting.rng(last.round)
        if self._law():
            step, exchange = memory.costs()
            cost = step * periods + exchange
            mean, deviation = (x / cost for x in memory.law.posterior(periods))
            draws = [memory.law.draw(periods, rng) for _ in range(self.draws)]
            value = np.mean(draws, axis=0) / cost
            # The first two arms tell the costs apart; later one arm up at most.
            arm = last.round if last.round < 2 else int(value[: memory.arm + 2].argmax())
        else:
            mean, deviation = memory.arms.posterior()
            value = np.mean([rng.normal(mean, deviation) for _ in range(self.draws)], axis=0)
            arm = int(np.where(np.isnan(value), np.inf, value).argmax())
        steps, _ = memory.segment(int(periods[arm]), self.span)
        algorithm = self._variants(setting)[arm]
        return Decision(algorithm, steps, arm, tuple(mean.tolist()), tuple(deviation.tolist()))

    def observe(
        self, setting: Setting, segment: Observation, decision: Decision, memory: Memory
    ) -> float:
        """Update the posterior by the drop of the log loss; return the drop per second."""
        arm = decision.arm
        period = max(1, int(self._periods(setting)[arm]))
        _, rounds = memory.segment(period, self.span)
        sizes = np.array([segment.steps, rounds], float)
        memory.normal += np.outer(sizes, sizes)
        memory.spent += sizes * segment.seconds
        memory.arm = arm
        drop, reward = memory.advance(segment, period)
        if isfinite(reward):
            keep = exp(-segment.steps / self.tau) if self.tau else 1.0
            memory.arms.update(arm, reward, keep)
            memory.law.update(period, rounds, drop, keep)
        return reward

    def _law(self) -> bool:
        """Report whether all arms share the law of power."""
        return self.model == "law" or (self.model == "auto" and self.option == PERIOD)

    def _variants(self, setting: Setting) -> list[Algorithm]:
        """Return the algorithm of each arm."""
        return variants(setting.algorithm, self.option, self.values or POWERS)

    def _periods(self, setting: Setting) -> Values:
        """Return the steps between exchanges of each arm, (A,)."""
        return np.array(
            [float(x.exchange_interval(setting.workers)) for x in self._variants(setting)]
        )
