"""AdaComm: a period that shrinks with the loss.

Wang, Joshi: Adaptive Communication Strategies to Achieve the Best Error-Runtime Trade-off in
Local-Update SGD, MLSys 2019. Symbols and departures are those of algorithms/adacomm.py. The
controller applies the rule of that file to any algorithm with a period; over `local_sgd` both are
the same algorithm.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from algorithms.adacomm import AdaComm
from algorithms.controllers.protocol import Controller, Decision, Observation, Setting
from algorithms.controllers.varying import check_option, varied


@dataclass
class Memory:
    """Period of the next interval."""

    period: int


@dataclass(frozen=True)
class AdaCommRule(Controller):
    """Shorten the period as the loss falls (AdaComm)."""

    period: int = field(default=16, metadata={"help": "initial period"})
    interval: int = field(default=50, metadata={"help": "steps between updates of the period"})
    decay: float = field(
        default=0.5, metadata={"help": "factor on the period if the loss has not fallen, gamma"}
    )

    def __post_init__(self) -> None:
        self.rule()

    def rule(self) -> AdaComm:
        """Return the algorithm of these options; raise ValueError if one is refused."""
        return AdaComm(self.period, self.interval, self.decay)

    def check(self, setting: Setting) -> None:
        """Raise ValueError if the algorithm has no period that may change."""
        check_option(setting.algorithm, "period")

    def memory(self, setting: Setting) -> Memory:
        """Return the initial period."""
        return Memory(self.period)

    def decide(self, setting: Setting, last: Observation, memory: Memory) -> Decision:
        """Return the algorithm with the period of the interval."""
        return Decision(varied(setting.algorithm, "period", str(memory.period)), self.interval)

    def observe(
        self, setting: Setting, segment: Observation, decision: Decision, memory: Any
    ) -> float:
        """Apply the rule to the mean loss of the interval; return its ratio to the first one."""
        loss, first = np.float64(segment.loss_mean), np.float64(segment.start_loss)
        memory.period = self.rule().next(memory.period, loss, first)
        return float(loss / first)
