"""Protocol of a pipeline: the order in which each position computes the stages of a model.

A model is cut into K stages, and a minibatch into M micro-batches. A position is a place in the
pipeline, a rank if there are enough of them; it computes its stages in the order of `actions`. A
pipeline is independent of MPI and of torch: `clock.play` computes it in model time, and
bench.runtime.pipeline computes the same actions with real layers. GPipe as an example:

    def gpipe(stage, stages, microbatches):
        return [
            *(Action("forward", stage, m) for m in range(microbatches)),
            *(Action("backward", stage, m) for m in range(microbatches)),
        ]

Every pipeline adds the gradients of the micro-batches in ascending order, so that synchronous ones
give the same bits for every number of stages.

Symbols: K stages s, M micro-batches m, R positions, w_s forward passes of stage s before its first
backward pass; f, b times of a forward and a backward pass of a stage.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple, Protocol, TypeAlias

Kind: TypeAlias = Literal["forward", "backward", "input", "weight"]
"""Pass of an action; `input` and `weight` are the two parts of a backward pass: the gradient of the
stage's input, and the gradient of its parameters."""
RECOMPUTE = ("never", "except_last", "always")


class Action(NamedTuple):
    """A pass of one micro-batch, counted through all minibatches, through one stage."""

    kind: Kind
    stage: int
    microbatch: int


@dataclass(frozen=True)
class Pipeline(Protocol):
    """Base of all pipelines: frozen dataclasses whose fields are their command-line options."""

    stages: int = field(default=2, metadata={"help": "K, the stages that the model is cut into"})
    microbatches: int = field(
        default=4, metadata={"help": "M, the micro-batches that a minibatch is cut into"}
    )
    recompute: str = field(
        default="never",
        metadata={
            "help": "compute the forward pass again in the backward pass instead of keeping its "
            "activations, for all micro-batches or all except the last one",
            "choices": RECOMPUTE,
        },
    )
    cut: str = field(
        default="",
        metadata={
            "help": "first unit of each stage but the first, as 3/7/9; empty: stages of nearly "
            "equal numbers of parameters"
        },
    )
    asynchronous: ClassVar[bool] = False
    """Minibatches overlap, and gradients are those of earlier parameters."""

    def __post_init__(self) -> None:
        for name, value in (("stages", self.stages), ("microbatches", self.microbatches)):
            if value < 1:
                raise ValueError(f"{name} must be >= 1, got {value}")
        if self.recompute not in RECOMPUTE:
            raise ValueError(
                f"recompute must be one of {', '.join(RECOMPUTE)}, got {self.recompute!r}"
            )

    @property
    def positions(self) -> int:
        """Return R, the number of positions: the largest number of ranks of one pipeline."""
        return self.stages

    def position(self, stage: int) -> int:
        """Return the position that computes a stage."""
        return stage % self.positions

    @abstractmethod
    def actions(self, position: int, minibatches: int = 1) -> list[Action]:
        """Return the actions of a position for some minibatches, in order."""

    @abstractmethod
    def in_flight(self, position: int) -> int:
        """Return the maximum number of forward passes whose activations a position keeps."""

    @abstractmethod
    def makespan(self, forward: float, input: float, weight: float) -> float:
        """Return the time of a minibatch if all stages take equal times and messages take none.

        forward, input, weight: times of the passes of a stage; backward is input + weight.
        """

    def weights(self, stage: int) -> int:
        """Return the number of versions of a stage's parameters in memory, with the current one."""
        return 1

    def version(self, stage: int, microbatch: int) -> int:
        """Return the number of updates in the parameters with which a stage computes.

        microbatch: counted through all minibatches.
        """
        return microbatch // self.microbatches

    def recomputes(self, microbatch: int) -> bool:
        """Return True if the backward pass of a micro-batch computes its forward pass again."""
        last = microbatch % self.microbatches == self.microbatches - 1
        return self.recompute == "always" or (self.recompute == "except_last" and not last)


def repeated(
    batch: Callable[[], list[Action]], microbatches: int, minibatches: int
) -> list[Action]:
    """Return the actions of one minibatch for several, one after the other."""
    once = batch()
    return [
        action._replace(microbatch=t * microbatches + action.microbatch)
        for t in range(minibatches)
        for action in once
    ]
