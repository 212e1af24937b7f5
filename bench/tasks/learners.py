"""The gradients of the workers of a rank: plain autograd for one, vmap for many."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch.func import functional_call, grad_and_value, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.functional import cross_entropy

from algorithms.layers import Ready
from bench.tasks import uncopied
from bench.tasks.model import Batch, Model
from bench.tasks.parts import FinishedParts
from bench.tasks.scores import outputs

CHUNK = 128
"""Models that vmap trains at once: beyond this their activations leave the cache."""
ELEMENTS = 2**24
"""Numbers that all layers of these models together may put out; autograd keeps some times more."""

Views = dict[str, torch.Tensor]
"""Parameters or gradients of several models by name."""


def mean_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The mean cross-entropy, (), of logits (b, ..., classes) and the classes (b, ...) wanted.

    targets may be one-hot, (b, ..., classes).
    """
    last = logits.dim() - 2
    return cross_entropy(logits.flatten(0, last), targets.flatten(0, last))


class OneModel:
    """One worker: a module whose parameters are views of the row."""

    def __init__(self, problem: Model, rows: torch.Tensor, gradients: torch.Tensor) -> None:
        self._problem = problem
        self.x, self.g = rows, gradients
        self._views = [view[0] for view in problem.views(rows).values()]
        self._gradients = [view[0] for view in problem.views(gradients).values()]
        self._module = self._bound()
        self._parameters, self._copied = self._leaves()
        self._watched: tuple[torch.nn.Module, FinishedParts] | None = None

    def fetch(self, indices: NDArray[np.int64]) -> Batch:
        """Inputs (b, ...) and targets (b,)."""
        chosen = torch.from_numpy(indices[0])
        return self._problem.inputs[chosen], self._problem.targets[chosen]

    def gradient(self, batch: Batch, ready: Ready | None = None) -> NDArray[np.floating]:
        """Fill the gradient of the row; return the (1,) loss."""
        inputs, targets = batch
        if ready:
            module, parts = self._watched or self._watch()
            loss = mean_loss(module(inputs), targets)
            parts.fill(loss, ready)
        else:
            loss = mean_loss(self._module(inputs), targets)
            gradients = torch.autograd.grad(loss, self._parameters)
            for view, gradient in zip(self._copied, gradients, strict=True):
                view.copy_(gradient)
        losses: NDArray[np.floating] = loss.detach().numpy().reshape(1)
        return losses

    def _bound(self) -> torch.nn.Module:
        module = self._problem.build(seed=0)
        for parameter, view in zip(module.parameters(), self._views, strict=True):
            parameter.data = view
        return module

    def _leaves(self) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """What autograd differentiates for, and where the gradients must be copied to."""
        views: dict[torch.Tensor, torch.Tensor]
        views = dict(zip(self._module.parameters(), self._gradients, strict=True))
        for layer in uncopied.large(self._module):
            uncopied.write(layer, views.pop(layer.weight))
        return list(views), list(views.values())

    def _watch(self) -> tuple[torch.nn.Module, FinishedParts]:
        """A module of its own for hooks: without `ready` nothing must wait for them."""
        module = self._bound()
        parts = FinishedParts(list(module.parameters()), self._gradients, self._problem.layers)
        self._watched = module, parts
        return self._watched


class ManyModels:
    """Many workers: per-row gradients by vmap, a chunk of rows at a time.

    Targets are one-hot here: under vmap cross-entropy of class indices scatters, which costs 12 %.
    """

    def __init__(self, problem: Model, rows: torch.Tensor, gradients: torch.Tensor) -> None:
        self.x, self.g = rows, gradients
        self._inputs, self._targets = problem.inputs, problem.targets
        self._one_hot = torch.eye(problem.classes, dtype=rows.dtype)
        self._views, self._outputs = problem.views, outputs(problem.module, problem.inputs[:1])
        self._chunks: dict[int, list[tuple[Views, Views]]] = {}

        def loss_of(params: Views, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            return mean_loss(functional_call(problem.module, params, (inputs,)), targets)

        self._gradient_of = vmap(grad_and_value(loss_of))
        self._traced: dict[torch.Size, Callable[..., tuple[Views, torch.Tensor]]]
        self._traced = {}

    def fetch(self, indices: NDArray[np.int64]) -> list[Batch]:
        """Inputs (c, b, ...) and one-hot targets (c, b, ..., C) of each chunk of c workers."""
        each = self._outputs * indices.shape[1]
        chosen = torch.split(torch.from_numpy(indices), max(1, min(CHUNK, ELEMENTS // each)))
        return [(self._inputs[i], self._one_hot[self._targets[i]]) for i in chosen]

    def gradient(self, batch: list[Batch], ready: Ready | None = None) -> NDArray[np.floating]:
        """Fill the gradients of all rows, which are one part; return the (V,) losses."""
        losses, size = [], len(batch[0][0])
        chunks = self._chunks.get(size) or self._split(size)
        for (x, g), (inputs, targets) in zip(chunks, batch, strict=True):
            if inputs.shape not in self._traced:  # a trace saves what vmap costs at every call
                traced = make_fx(self._gradient_of)(x, inputs, targets)
                self._traced[inputs.shape] = traced
            gradients, loss = self._traced[inputs.shape](x, inputs, targets)
            for name, view in g.items():
                view.copy_(gradients[name])
            losses.append(loss)
        if ready:
            ready(0, self.g.shape[1])
        result: NDArray[np.floating] = torch.cat(losses).numpy()
        return result

    def _split(self, size: int) -> list[tuple[Views, Views]]:
        """Views of x and g, so many models a chunk, kept for the next batch."""
        pairs = zip(torch.split(self.x, size), torch.split(self.g, size), strict=True)
        self._chunks[size] = [(self._views(x), self._views(g)) for x, g in pairs]
        return self._chunks[size]
