"""Quadratic synchronization rule: a period in inverse proportion to the square of the rate.

Gu, Lyu, Arora, Zhang, Huang: A Quadratic Synchronization Rule for Distributed Deep Learning, ICLR
2024. H = max(H_0, floor((a / lr)^2)), with the growth coefficient a and the learning rate lr.
Departures: (1) the learning rate is constant, so that there is one decision: --schedule is refused.
"""

from dataclasses import dataclass, field
from math import floor, isfinite
from typing import Any, ClassVar

from algorithms.controllers.protocol import Controller, Decision, Observation, Setting
from algorithms.controllers.varying import check_option, varied


@dataclass(frozen=True)
class QSR(Controller):
    """Derive the period from the learning rate (quadratic synchronization rule)."""

    least: int = field(default=2, metadata={"help": "minimum period, H_0"})
    growth: float = field(default=0.3, metadata={"help": "growth coefficient, a"})
    listens: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.least < 1:
            raise ValueError(f"least must be >= 1, got {self.least}")
        if not 0 < self.growth < float("inf"):
            raise ValueError(f"growth must be > 0 and finite, got {self.growth}")

    def check(self, setting: Setting) -> None:
        """Raise ValueError without a period that may change, or without a learning rate."""
        check_option(setting.algorithm, "period")
        if not isfinite(setting.lr):
            raise ValueError(
                "the optimizer has no constant learning rate lr: take sgd or adam, without "
                "--schedule"
            )

    def period(self, lr: float) -> int:
        """Return the period of a learning rate."""
        return max(self.least, floor((self.growth / lr) ** 2))

    def decide(self, setting: Setting, last: Observation, memory: Any) -> Decision:
        """Return the algorithm with the period of the learning rate."""
        return Decision(varied(setting.algorithm, "period", str(self.period(setting.lr))))
