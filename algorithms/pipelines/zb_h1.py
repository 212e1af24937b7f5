"""Zero bubble H1: 1F1B whose gradients of parameters fill the bubble.

Qi, Wan, Huang, Lin: Zero Bubble Pipeline Parallelism, ICLR 2024, section 3.1 (ZB-H1). Symbols:
protocol.py; b_i, b_w times of the gradients of a stage's input and of its parameters, b = b_i +
b_w. Departures: none.

    (1) The order of 1F1B, with the gradient of the input as backward pass.
    (2) After that of micro-batch m >= s, the gradient of the parameters for m - s.
    (3) The remaining gradients of parameters.

Activations are kept until (2), so that every stage keeps those of min(M, K) micro-batches, as stage
0 does in 1F1B.

    stage 0   0 1 . 0'0"2 1'1"2'2"          K = 2, M = 3; ' input, " parameters
    stage 1   . 0 0'1 1'0"2 2'1"2"
"""

from __future__ import annotations

from dataclasses import dataclass

from algorithms.pipelines.one_f_one_b import one_f_one_b
from algorithms.pipelines.protocol import Action, Pipeline, repeated


def zb_h1(stage: int, stages: int, microbatches: int) -> list[Action]:
    """Return the actions of a stage for one minibatch."""
    actions = []
    for action in one_f_one_b(stage, stages, microbatches):
        if action.kind == "forward":
            actions.append(action)
            continue
        actions.append(action._replace(kind="input"))  # (1)
        if action.microbatch >= stage:  # (2)
            actions.append(Action("weight", stage, action.microbatch - stage))
    first = max(0, microbatches - stage)
    return actions + [Action("weight", stage, m) for m in range(first, microbatches)]  # (3)


@dataclass(frozen=True)
class ZeroBubbleH1(Pipeline):
    """1F1B whose gradients of parameters wait and fill the bubble (ZB-H1)."""

    def actions(self, position: int, minibatches: int = 1) -> list[Action]:
        """Return the actions of a position for some minibatches, in order."""
        M = self.microbatches
        return repeated(lambda: zb_h1(position, self.stages, M), M, minibatches)

    def in_flight(self, position: int) -> int:
        """Return min(M, K): activations are kept for the gradient of the parameters."""
        return min(self.microbatches, self.stages)

    def makespan(self, forward: float, input: float, weight: float) -> float:
        """Return M (f + b_i + b_w) + (K - 1) (f + b_i - b_w).

        Exact for M >= K and b_w <= min(f, b_i), else a lower bound; never more than 1F1B.
        """
        busy = self.microbatches * (forward + input + weight)
        return busy + (self.stages - 1) * (forward + input - weight)
