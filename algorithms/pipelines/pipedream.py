"""PipeDream: 1F1B without a flush, with gradients of earlier parameters.

Narayanan, Harlap, Phanishayee, Seshadri, Devanur, Ganger, Gibbons, Zaharia: PipeDream: Generalized
Pipeline Parallelism for DNN Training, SOSP 2019, sections 3.2 (1F1B) and 3.3 (stashing, vertical
sync). Symbols: protocol.py; x^(t) parameters after t updates; w_s = K - 1 - s; minibatch t, of M
micro-batches i. Stage s computes forward passes w_s micro-batches ahead of its backward passes and
updates after the M-th backward pass, without waiting for the other stages.

`versions` decides the parameters of both passes of micro-batch i of minibatch t:

    stash      stage s: those at its forward pass, x^(max(0, t - ceil((w_s - i) / M)))
    vertical   all stages: those of stage 0, x^(max(0, t - ceil((K - 1 - i) / M)))
    two        all stages: x^(max(0, t - 1)).  Double-buffered weights: Narayanan, Phanishayee,
               Shi, Chen, Zaharia, ICML 2021, section 3.1 (PipeDream-2BW)
    none       forward pass as with stash, backward pass with those of the day: the gradient of no
               function.  Yang, Zhang, Li, Re, Aberger, De Sa: PipeMare, MLSys 2021

With M = 1, `vertical` gives the steps of lagged_allreduce_sgd with lag = K - 1, and `two` with
lag = 1. Departs from the papers: (1) a stage is never replicated: workers are whole pipelines;
(2) M > 1 with `stash` and `vertical` is not in the paper: gradients of M micro-batches are
accumulated without a flush.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from algorithms.pipelines.one_f_one_b import one_f_one_b
from algorithms.pipelines.protocol import Action, Pipeline

VERSIONS = ("stash", "vertical", "two", "none")


@dataclass(frozen=True)
class PipeDream(Pipeline):
    """1F1B without a flush, with gradients of earlier parameters (PipeDream, PipeDream-2BW)."""

    microbatches: int = field(
        default=1, metadata={"help": "M, the micro-batches that a minibatch is cut into"}
    )
    versions: str = field(
        default="stash",
        metadata={"help": "parameters of a micro-batch's two passes", "choices": VERSIONS},
    )
    asynchronous: ClassVar[bool] = True

    def __post_init__(self) -> None:
        Pipeline.__post_init__(self)
        K, M = self.stages, self.microbatches
        if self.versions not in VERSIONS:
            raise ValueError(f"versions must be one of {', '.join(VERSIONS)}, got {self.versions}")
        if self.versions == "two" and M < K - 1:
            raise ValueError(
                f"versions=two needs microbatches >= stages - 1 = {K - 1}, got {M}: take "
                f"microbatches={K - 1}, or versions=stash"
            )
        if self.versions == "none" and self.recompute != "never":
            raise ValueError(
                f"recompute={self.recompute} needs the parameters of the forward pass, which "
                "versions=none does not keep: take recompute=never, or versions=stash"
            )

    def actions(self, position: int, minibatches: int = 1) -> list[Action]:
        """Return the actions of a position for a run of some minibatches, in order."""
        return one_f_one_b(position, self.stages, minibatches * self.microbatches)

    def in_flight(self, position: int) -> int:
        """Return K - s, if the run is long enough."""
        return self.stages - position

    def makespan(self, forward: float, input: float, weight: float) -> float:
        """Return M (f + b), the period of a minibatch after the pipeline is full."""
        return self.microbatches * (forward + input + weight)

    def weights(self, stage: int) -> int:
        """Return 1 and the maximum age of a version in updates; `none` keeps one."""
        K, M = self.stages, self.microbatches
        ahead = {"stash": K - 1 - stage, "vertical": K - 1, "two": M, "none": 0}
        return 1 + -(-ahead[self.versions] // M)

    def version(self, stage: int, microbatch: int) -> int:
        """Return the updates before the parameters of the forward pass."""
        K, M = self.stages, self.microbatches
        if self.versions == "two":
            return max(0, microbatch // M - 1)
        ahead = K - 1 if self.versions == "vertical" else K - 1 - stage
        return max(0, (microbatch - ahead) // M)
