"""Scores of many models on held-out samples, in pieces that memory can take."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.func import functional_call, vmap
from torch.nn.functional import cross_entropy

from bench.tasks.learners import CHUNK

if TYPE_CHECKING:
    from bench.tasks.classifier import Classifier

ELEMENTS = 2**24
"""Numbers that the layers of all models and samples of a piece may put out."""


class Scores:
    """Loss and accuracy of the models in rows on inputs (m, ...) and targets (m, ...)."""

    def __init__(self, problem: Classifier, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        self._problem = problem
        size = outputs(problem.module, inputs[:1])
        self._models = max(1, min(CHUNK, ELEMENTS // size))
        samples = max(1, ELEMENTS // (size * self._models))
        self._pieces = list(
            zip(torch.split(inputs, samples), torch.split(targets, samples), strict=True)
        )
        self._count = targets.numel()

    def __call__(self, rows: torch.Tensor) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Mean loss (n,) and part of the targets that is hit (n,) of rows (n, d), float64."""
        with torch.no_grad():
            chunks = [self._sums(rows_) for rows_ in torch.split(rows, self._models)]
        loss, hits = (torch.cat(chunks, dim=1) / self._count).numpy()  # of float64: 324 of 360
        return loss, hits

    def _sums(self, rows: torch.Tensor) -> torch.Tensor:
        """Summed losses and hits, (2, n) float64."""
        parameters = self._problem.views(rows)
        total = torch.zeros(2, len(rows), dtype=torch.float64)
        for inputs, targets in self._pieces:
            total += torch.stack(vmap(partial(self._of_one, inputs, targets))(parameters))
        return total

    def _of_one(
        self, inputs: torch.Tensor, targets: torch.Tensor, parameters: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self._problem.logits(parameters, inputs)
        wanted = targets.flatten()
        loss = cross_entropy(logits.flatten(0, -2), wanted, reduction="sum")
        return loss.double(), (logits.flatten(0, -2).argmax(1) == wanted).sum().double()


def outputs(module: torch.nn.Module, sample: torch.Tensor) -> int:
    """Numbers that all layers of the module put out for one sample, (1, ...)."""
    count = 0

    def count_up(_: torch.nn.Module, given: Any, made: torch.Tensor) -> None:
        nonlocal count
        count += made.numel()

    leaves = [part for part in module.modules() if not list(part.children())]
    hooks = [part.register_forward_hook(count_up) for part in leaves]
    with torch.no_grad():
        functional_call(module, {}, (sample,))
    for hook in hooks:
        hook.remove()
    return max(1, count)
