"""GPipe: all forward passes of a minibatch, then all backward passes.

Huang, Cheng, Bapna, Firat, Chen, Chen, Lee, Ngiam, Le, Wu, Chen: GPipe: Efficient Training of
Giant Neural Networks using Pipeline Parallelism, NeurIPS 2019, Figure 2c. Symbols: protocol.py.
Departs from the paper: backward passes are in ascending order of the micro-batch, as in all other
pipelines here, so that their sums have the same bits.

    stage 0   0 1 2 . . 0'0'1'1'2'2'        K = 2, M = 3
    stage 1   . 0 1 2 0'0'1'1'2'2'. .
"""

from __future__ import annotations

from dataclasses import dataclass

from algorithms.pipelines.protocol import Action, Pipeline, repeated


def gpipe(stage: int, stages: int, microbatches: int) -> list[Action]:
    """Return the actions of a stage for one minibatch."""
    return [
        *(Action("forward", stage, m) for m in range(microbatches)),
        *(Action("backward", stage, m) for m in range(microbatches)),
    ]


@dataclass(frozen=True)
class GPipe(Pipeline):
    """All forward passes, then all backward passes (GPipe)."""

    def actions(self, position: int, minibatches: int = 1) -> list[Action]:
        """Return the actions of a position for some minibatches, in order."""
        M = self.microbatches
        return repeated(lambda: gpipe(position, self.stages, M), M, minibatches)

    def in_flight(self, position: int) -> int:
        """Return M."""
        return self.microbatches

    def makespan(self, forward: float, input: float, weight: float) -> float:
        """Return (M + K - 1) (f + b)."""
        return (self.microbatches + self.stages - 1) * (forward + input + weight)
