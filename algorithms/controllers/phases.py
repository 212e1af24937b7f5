"""Phases: values of an option that change at given steps.

Post-local SGD (Lin, Stich, Patel, Jaggi: Don't Use Large Mini-Batches, Use Local SGD, ICLR 2020,
section 4) is `local_sgd` with `phases:values=1/16,steps=100`. A schedule of peers, as in stochastic
gradient push (Assran et al., ICML 2019), changes the option `topology`.
Departures: phases end at steps, while Lin et al. switch at the first decay of the learning rate.
"""

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any, ClassVar

from algorithms.controllers.protocol import FOREVER, Controller, Decision, Observation, Setting
from algorithms.controllers.varying import check_variants, increasing, split, variants


@dataclass(frozen=True)
class Phases(Controller):
    """Change an option at given steps (post-local SGD, schedules of peers)."""

    option: str = field(default="period", metadata={"help": "option of the algorithm to vary"})
    values: str = field(default="1/16", metadata={"help": "value of each phase, as in 1/4/16"})
    steps: str = field(
        default="100", metadata={"help": "step at the end of each phase but the last, as in 50/100"}
    )
    listens: ClassVar[bool] = False

    def __post_init__(self) -> None:
        ends, values = split(self.steps), split(self.values)
        if not all(x.isdecimal() for x in ends) or not increasing(self.ends()):
            raise ValueError(f"steps must be increasing numbers from 1 on, got {self.steps!r}")
        if len(values) != len(ends) + 1:
            raise ValueError(
                f"values must be one more than steps, got {len(values)} values and {len(ends)} "
                "steps: the last phase has no end"
            )

    def ends(self) -> list[int]:
        """Return the step at the end of each phase but the last."""
        return [int(x) for x in split(self.steps)]

    def check(self, setting: Setting) -> None:
        """Raise ValueError if the algorithm refuses a value."""
        check_variants(setting.algorithm, self.option, self.values, setting.workers)

    def arms(self, setting: Setting) -> list[str]:
        """Return the values."""
        return split(self.values)

    def decide(self, setting: Setting, last: Observation, memory: Any) -> Decision:
        """Return the algorithm of the phase of the next step."""
        ends = self.ends()
        phase = bisect_right(ends, last.step)
        algorithms = variants(setting.algorithm, self.option, self.values)
        steps = ends[phase] - last.step if phase < len(ends) else FOREVER
        return Decision(algorithms[phase], steps, phase)
