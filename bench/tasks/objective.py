"""Objective of a torch task: the loss of a minibatch, and the sums of an evaluation."""

from __future__ import annotations

from typing import ClassVar, Protocol

import torch
from torch.nn.functional import cross_entropy


class Objective(Protocol):
    """Loss that training minimises, and loss and metric on held-out samples."""

    one_hot: ClassVar[bool]
    """Targets of `loss` may be one-hot, (b, ..., classes), instead of classes."""

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean loss, (), of outputs (b, ...) and targets (b, ...)."""
        ...

    def sums(self, outputs: torch.Tensor, targets: torch.Tensor) -> tuple[float, float]:
        """Return the loss and the metric, each summed over the held-out targets."""
        ...

    def count(self, targets: torch.Tensor) -> int:
        """Return the number of terms of these sums."""
        ...


def mean_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy, (), of logits (b, ..., classes) and target classes (b, ...).

    targets may be one-hot, (b, ..., classes).
    """
    last = logits.dim() - 2
    return cross_entropy(logits.flatten(0, last), targets.flatten(0, last))


class CrossEntropy:
    """Cross-entropy of logits (b, ..., classes), and the fraction of correct targets."""

    one_hot: ClassVar[bool] = True

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy; see `mean_loss`."""
        return mean_loss(outputs, targets)

    def sums(self, outputs: torch.Tensor, targets: torch.Tensor) -> tuple[float, float]:
        """Return the summed cross-entropy and the number of correct targets."""
        logits, classes = outputs.flatten(0, -2), targets.flatten()
        loss = float(cross_entropy(logits, classes, reduction="sum"))
        return loss, float((logits.argmax(1) == classes).sum())

    def count(self, targets: torch.Tensor) -> int:
        """Return the number of targets."""
        return targets.numel()
