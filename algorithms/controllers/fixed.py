"""Fixed controller: the options of the command line from the first step to the last."""

from dataclasses import dataclass
from typing import Any, ClassVar

from algorithms.controllers.protocol import Controller, Decision, Observation, Setting


@dataclass(frozen=True)
class Fixed(Controller):
    """Keep the options of the command line."""

    listens: ClassVar[bool] = False

    def decide(self, setting: Setting, last: Observation, memory: Any) -> Decision:
        """Return the algorithm of the command line, for the whole run."""
        return Decision(setting.algorithm)
