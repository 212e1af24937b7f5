"""1F1B: one forward pass, one backward pass, with a flush after every minibatch.

Narayanan, Phanishayee, Shi, Chen, Zaharia: Memory-Efficient Pipeline-Parallel DNN Training, ICML
2021, section 3.2 (PipeDream-Flush); the order is that of PipeDream, SOSP 2019. Symbols:
protocol.py; a `ahead`.
Departs from the paper: with a > 1 the warm-up is a times as long. It hides the latency of messages
up to (a - 1) (f + b) / 2 and keeps a times as many activations.

    (1) w_s = min(M, a (K - 1 - s)) forward passes
    (2) one forward and one backward pass in turns
    (3) the remaining backward passes

    stage 0   0 1 . 0'0'2 1'1'. 2'2'        K = 2, M = 3, a = 1
    stage 1   . 0 0'0'1 1'1'2 2'2'. .
"""

from __future__ import annotations

from dataclasses import dataclass, field

from algorithms.pipelines.protocol import Action, Pipeline, repeated


def one_f_one_b(stage: int, stages: int, microbatches: int, ahead: int = 1) -> list[Action]:
    """Return the actions of a stage for one minibatch."""
    warmup = min(microbatches, ahead * (stages - 1 - stage))
    actions = [Action("forward", stage, m) for m in range(warmup)]  # (1)
    for m in range(microbatches - warmup):  # (2)
        actions += [Action("forward", stage, warmup + m), Action("backward", stage, m)]
    first = microbatches - warmup
    return actions + [Action("backward", stage, m) for m in range(first, microbatches)]  # (3)


@dataclass(frozen=True)
class OneFOneB(Pipeline):
    """Forward and backward passes in turns, with a flush (1F1B, PipeDream-Flush)."""

    ahead: int = field(
        default=1,
        metadata={"help": "length of the warm-up: 2 hides latency and keeps more activations"},
    )

    def __post_init__(self) -> None:
        Pipeline.__post_init__(self)
        if self.ahead < 1:
            raise ValueError(f"ahead must be >= 1, got {self.ahead}")

    def actions(self, position: int, minibatches: int = 1) -> list[Action]:
        """Return the actions of a position for some minibatches, in order."""
        K, M = self.stages, self.microbatches
        return repeated(lambda: one_f_one_b(position, K, M, self.ahead), M, minibatches)

    def in_flight(self, position: int) -> int:
        """Return min(M, a (K - 1 - s) + 1)."""
        return min(self.microbatches, self.ahead * (self.stages - 1 - position) + 1)

    def makespan(self, forward: float, input: float, weight: float) -> float:
        """Return (M + K - 1) (f + b)."""
        return (self.microbatches + self.stages - 1) * (forward + input + weight)
