"""Interface of a torch task for learners, and scores of its models on held-out samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from algorithms.protocol import Layer

Batch: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""Inputs (b, ...) and targets (b, ...)."""
Answer: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
"""Function from inputs (m, ...) to logits (m, ..., classes)."""

Gradients: TypeAlias = Callable[..., Sequence[Any]]
"""Function from parameters, inputs and targets of several models to gradients, as `tracing.trace`
returns them, and losses, (n,)."""


class Objective(Protocol):
    """Loss that training minimises, and loss and metric on held-out samples."""

    one_hot: ClassVar[bool]
    """Targets of `loss` may be one-hot, (b, ..., classes), instead of classes."""

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean loss, (), of outputs (b, ...) and targets (b, ...)."""
        ...

    def part(self, outputs: torch.Tensor, targets: torch.Tensor, share: float) -> torch.Tensor:
        """Return the part of a micro-batch in the mean loss of its minibatch, ().

        share: inverse of the number of targets of the minibatch.
        """
        ...

    def sums(self, outputs: torch.Tensor, targets: torch.Tensor) -> tuple[float, float]:
        """Return the loss and the metric, each summed over the held-out targets."""
        ...

    def count(self, targets: torch.Tensor) -> int:
        """Return the number of terms of these sums."""
        ...


class Model(Protocol):
    """A torch module with the samples of this rank; a flat row has its parameters."""

    module: torch.nn.Module
    objective: Objective
    classes: int
    d: int
    layers: Sequence[Layer]
    traces: dict[torch.Size, Gradients]
    """Traced gradients by the shape of the inputs, for all learners of the module."""

    @property
    def inputs(self) -> torch.Tensor:
        """Return the inputs on this rank, (m, ...)."""
        ...

    @property
    def targets(self) -> torch.Tensor:
        """Return the targets on this rank, (m,) or (m, ...) int64."""
        ...

    def build(self, seed: int) -> torch.nn.Module:
        """Return a module with the initial parameters of this seed."""
        ...

    def views(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the parameters by name as views of rows, (n, d): each (n, *shape)."""
        ...

    def ready(self, parameters: dict[str, torch.Tensor]) -> Answer:
        """Return the model with these parameters: inputs (m, ...) to logits."""
        ...


ELEMENTS = 2**22
"""Maximum number of outputs of all layers for one piece; for a larger model its size."""


class Scores:
    """Loss and metric of models on inputs (m, ...) and targets (m, ...), evaluated in pieces.

    A loop over the models is as fast as vmap for small ones and several times faster for
    convolutions and attention, whose samples already use all cores.
    """

    def __init__(self, problem: Model, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        self._problem = problem
        piece = max(1, max(ELEMENTS, problem.d) // outputs(problem.module, inputs[:1]))
        self._pieces = list(
            zip(torch.split(inputs, piece), torch.split(targets, piece), strict=True)
        )
        self._count = problem.objective.count(targets)

    def __call__(self, rows: torch.Tensor) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Return mean loss (n,) and mean metric (n,) of rows (n, d), float64."""
        with torch.no_grad():
            sums = np.array([self._sums(row) for row in rows])
        loss, metric = (sums / self._count).T  # in float64: 324 of 360 is below 0.9 in float32
        return loss, metric

    def ensemble(self, rows: torch.Tensor) -> tuple[float, float]:
        """Return mean loss and mean metric of the mean softmax, in float64, of rows (n, d)."""
        means: list[torch.Tensor | float] = [0.0] * len(self._pieces)
        with torch.no_grad():
            for row in rows:
                answer = self._ready(row)
                for i, (inputs, _) in enumerate(self._pieces):
                    means[i] += answer(inputs).double().softmax(-1) / len(rows)
            sums = np.zeros(2)
            for mean, (_, targets) in zip(means, self._pieces, strict=True):
                assert isinstance(mean, torch.Tensor)
                sums += self._problem.objective.sums(mean.log(), targets)
        loss, metric = (sums / self._count).tolist()
        return loss, metric

    def _ready(self, row: torch.Tensor) -> Answer:
        """Return one model, (d,)."""
        views = self._problem.views(row[None])
        return self._problem.ready({name: view[0] for name, view in views.items()})

    def _sums(self, row: torch.Tensor) -> tuple[float, float]:
        """Return the summed loss and the summed metric of one model, (d,)."""
        answer = self._ready(row)
        loss = metric = 0.0
        for inputs, targets in self._pieces:
            sums = self._problem.objective.sums(answer(inputs), targets)
            loss, metric = loss + sums[0], metric + sums[1]
        return loss, metric


def outputs(module: torch.nn.Module, sample: torch.Tensor) -> int:
    """Return the number of outputs of all layers of the module for one sample, (1, ...)."""
    count = 0

    def add(_: torch.nn.Module, arguments: Any, result: torch.Tensor) -> None:
        nonlocal count
        count += result.numel()

    leaves = [part for part in module.modules() if not list(part.children())]
    hooks = [part.register_forward_hook(add) for part in leaves]
    with torch.no_grad():
        module(sample)
    for hook in hooks:
        hook.remove()
    return max(1, count)
