"""The interface of a torch task that learners and scores need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import torch

from algorithms.layers import Layer

Batch: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""Inputs (b, ...) and targets (b, ...)."""
Answer: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
"""Logits (m, ..., classes) of inputs (m, ...)."""


class Model(Protocol):
    """A torch module with the samples of this rank; a flat row holds its parameters."""

    module: torch.nn.Module
    classes: int
    d: int
    layers: Sequence[Layer]

    @property
    def inputs(self) -> torch.Tensor:
        """The inputs that are held, (m, ...)."""
        ...

    @property
    def targets(self) -> torch.Tensor:
        """The targets that are held, (m,) or (m, ...) int64."""
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
