"""Contract of a task whose model is a chain of layers, which a pipeline can cut into stages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bench.tasks.protocol import Problem
from bench.tasks.saved import SavedBytes


class StagePasses(Protocol):
    """Passes of micro-batches through one stage of one worker's model; see algorithms.pipelines.

    slot: number of the parameters of a pass, below the number of slots of SplitModel.stage.
    """

    def count(self, saved: SavedBytes | None, stage: int) -> None:
        """Count what later passes keep, as this stage; None for no longer."""
        ...

    def store(self, slot: int) -> None:
        """Copy the parameters of the worker to a slot; nothing to do without slots."""
        ...

    def load(self, slot: int, row: NDArray[np.floating]) -> None:
        """Set the parameters of a slot to a row, (n,)."""
        ...

    def save(self, slot: int, row: NDArray[np.floating]) -> None:
        """Set a row, (n,), to the parameters of a slot."""
        ...

    def forward(
        self,
        microbatch: int,
        slot: int,
        inputs: NDArray[Any],
        targets: NDArray[np.int64] | None,
        share: float,
        keep: bool,
    ) -> NDArray[Any]:
        """Return the activations of inputs (b, ...), or for the last stage, with targets, the loss.

        share: inverse of the number of targets of the minibatch; the losses of its micro-batches
        add up to its mean loss. keep: keep the activations for the backward pass; otherwise it
        computes them again.
        """
        ...

    def backward(
        self, microbatch: int, gradient: NDArray[np.floating] | None, first: bool
    ) -> NDArray[np.floating] | None:
        """Add the gradients of the parameters; return that of the inputs, None for the first stage.

        gradient: of the activations; None for the last stage. first: set the gradients instead of
        adding to them.
        """
        ...

    def input(
        self, microbatch: int, gradient: NDArray[np.floating] | None
    ) -> NDArray[np.floating] | None:
        """Return the gradient of the inputs alone; `weight` must follow."""
        ...

    def weight(self, microbatch: int, first: bool) -> None:
        """Add the gradients of the parameters after `input`."""
        ...


@runtime_checkable
class LayeredProblem(Problem, Protocol):
    """A problem whose model is a chain of units, the parts that a cut may not go through."""

    @property
    def units(self) -> Sequence[int]:
        """Return the number of parameters of each unit, in the order of the row."""
        ...

    def split_model(
        self,
        x: NDArray[np.floating],
        g: NDArray[np.floating],
        bounds: Sequence[int],
        stages: Sequence[int],
    ) -> SplitModel:
        """Bind the stages of this rank to the parameters and gradients of its workers.

        x, g: (V, n), the parameters of these stages one after the other. bounds: (K + 1,) first
        unit of each stage, and the number of units.
        """
        ...


class SplitModel(Protocol):
    """Stages of a model on a rank, for all its workers."""

    x: Any
    g: Any
    """The bound rows, as arrays of the library with the fastest arithmetic on them."""

    def stage(self, worker: int, stage: int, slots: int, *, split: bool) -> StagePasses:
        """Return the passes of a stage of a worker, counted on this rank.

        slots: versions of the parameters to store; 0: passes use those of the worker. split:
        passes `input` and `weight` are used instead of `backward`.
        """
        ...

    def size(self, stage: int) -> int:
        """Return the number of parameters of a stage of this rank."""
        ...

    def shape(self, stage: int) -> tuple[int, ...]:
        """Return the shape of the activations of a stage for one sample."""
        ...

    def samples(self, places: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return inputs and targets of samples of this rank, of places (b,) int64."""
        ...
