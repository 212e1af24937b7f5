"""Learning rate schedules: a factor on the learning rate as a function of the step.

Symbols: k the step of a worker, from 0; K the steps of the run; W the warm-up; f the factor.

    warm-up, k < W: f = (k + 1) / W           Goyal et al. 2017, section 2.2
    cosine: f = l + (1 - l) (1 + cos(pi (k - W) / (K - W))) / 2
                                              Loshchilov, Hutter: SGDR, ICLR 2017, equation 5
    linear: f = l + (1 - l) (K - k) / (K - W)
    step:   f = c^floor(k / every)

l is the option `least`, c the option `factor`. Departs from the paper: (1) cosine has one cycle and
no restarts.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import cos, pi

from bench.optimizers.protocol import fraction

TINY = 1e-30
"""Smallest factor on a rate, within the range of float32."""
LEAST = {"help": "factor that the rate approaches at the end of the run"}


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up, then the factor of a subclass."""

    warmup: int = field(default=0, metadata={"help": "first steps, in which the rate grows"})

    def __post_init__(self) -> None:
        if self.warmup < 0:
            raise ValueError(f"warmup must be >= 0, got {self.warmup}")

    def at(self, k: int, steps: int) -> float:
        """Return the factor at step k = 0, 1, ... of a run; later steps have that of the last."""
        k = min(k, steps - 1)
        return (k + 1) / self.warmup if k < self.warmup else self.decay(k, steps)

    def check(self, steps: int) -> None:
        """Raise ValueError if a run of so many steps would not reach the end of the warm-up."""
        if self.warmup >= steps:
            raise ValueError(
                f"warmup must be below the number of steps, {steps}, got {self.warmup}"
            )

    @abstractmethod
    def decay(self, k: int, steps: int) -> float:
        """Return the factor after the warm-up, > 0 for k < steps."""


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from the rate of the optimizer down to a part of it."""

    least: float = field(default=0.0, metadata=LEAST)

    def __post_init__(self) -> None:
        super().__post_init__()
        fraction("least", self.least)

    def decay(self, k: int, steps: int) -> float:
        """Return the factor after the warm-up."""
        share = (k - self.warmup) / (steps - self.warmup)
        return self.least + (1 - self.least) * (1 + cos(pi * share)) / 2


@dataclass(frozen=True)
class Linear(Schedule):
    """Straight line from the rate of the optimizer down to a part of it."""

    least: float = field(default=0.0, metadata=LEAST)

    def __post_init__(self) -> None:
        super().__post_init__()
        fraction("least", self.least)

    def decay(self, k: int, steps: int) -> float:
        """Return the factor after the warm-up."""
        return self.least + (1 - self.least) * (steps - k) / (steps - self.warmup)


@dataclass(frozen=True)
class Step(Schedule):
    """Multiply the rate by a factor every few steps."""

    every: int = field(default=100, metadata={"help": "steps between two changes"})
    factor: float = field(default=0.1, metadata={"help": "factor of one change"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.every < 1:
            raise ValueError(f"every must be >= 1, got {self.every}")
        if not 0 < self.factor < 1:
            raise ValueError(f"factor must be in (0, 1), got {self.factor}")

    def check(self, steps: int) -> None:
        """Raise ValueError if the rate would never change, or become 0."""
        super().check(steps)
        if self.every >= steps:
            raise ValueError(f"every must be below the number of steps, {steps}, got {self.every}")
        if not self.at(steps - 1, steps) > TINY:
            raise ValueError(
                f"the rate becomes 0 after {steps} steps: take a larger factor or every"
            )

    def decay(self, k: int, steps: int) -> float:
        """Return the factor after the warm-up."""
        return float(self.factor ** (k // self.every))


SCHEDULES: Mapping[str, type[Schedule]] = {"cosine": Cosine, "linear": Linear, "step": Step}
"""Schedule by name."""
