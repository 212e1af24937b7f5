"""The gradients of the workers of a rank: plain autograd for one, vmap for many.

Parts of the gradient, told as the backward pass finishes them.

Li et al.: PyTorch Distributed: Experiences on Accelerating Data Parallel Training, VLDB 2020,
section 3.2, give the idea: an all-reduce of the last layers runs while the first ones are still to
be differentiated.

Gradients of large linear layers, written where they are wanted: autograd's would be copied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from threading import get_ident
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.func import functional_call, grad_and_value, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.functional import cross_entropy

from algorithms.protocol import Layer, Ready
from bench.tasks.model import Batch, Model, outputs

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
        for layer in large(self._module):
            write(layer, views.pop(layer.weight))
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


class FinishedParts:
    """Fills gradients and tells which are final, by hooks on the parameters.

    parameters: leaves of the graph, in the order of the row. gradients: views of the rows of g,
    one a parameter, of its shape. layers: where each lies in a row.
    """

    def __init__(
        self,
        parameters: Sequence[torch.Tensor],
        gradients: Sequence[torch.Tensor],
        layers: Sequence[Layer],
    ) -> None:
        self._parameters, self._gradients, self._layers = parameters, gradients, layers
        for i, parameter in enumerate(parameters):
            parameter.register_hook(partial(self._arrived, i))  # type: ignore[no-untyped-call]

    def fill(self, loss: torch.Tensor, ready: Ready) -> None:
        """Fill the gradients of a loss, (), that these parameters gave; call ready meanwhile.

        The parts come from the last layer to the first, whatever order they are finished in.
        """
        self._ready, self._thread = ready, get_ident()
        self._done = [False] * len(self._layers)
        self._left = len(self._layers)
        torch.autograd.grad(loss, self._parameters)
        assert self._left == 0, f"{self._left} layers have no gradient"

    def _arrived(self, i: int, gradient: torch.Tensor) -> None:
        assert get_ident() == self._thread, "on a CPU, torch differentiates in the calling thread"
        self._gradients[i].copy_(gradient)
        self._done[i] = True
        last = self._left
        while self._left and self._done[self._left - 1]:
            self._left -= 1
        if self._left < last:
            self._ready(self._layers[self._left].start, self._layers[last - 1].stop)


WORTH = 2**18
"""Weights from which on the copy is dearer than a hook."""


def large(module: torch.nn.Module) -> list[torch.nn.Linear]:
    """The layers for which `write` pays.

    Without a bias nothing may be left to differentiate for, and a weight in two layers has the
    sum of two gradients: these are left to autograd.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, torch.nn.Linear)]
    weights = [id(layer.weight) for layer in layers]
    return [
        layer
        for layer in layers
        if layer.weight.numel() >= WORTH
        and layer.bias is not None
        and weights.count(id(layer.weight)) == 1
    ]


def write(layer: torch.nn.Linear, gradient: torch.Tensor) -> None:
    """From now on a backward pass writes the weight's gradient, bit for bit autograd's, there.

    The weight is none of the leaves any more. The layer must be called once in a forward pass.
    """
    layer.weight.requires_grad_(False)
    layer.register_forward_hook(partial(_called, gradient))


def _called(
    gradient: torch.Tensor, _: torch.nn.Module, given: tuple[Any, ...], outputs: torch.Tensor
) -> None:
    (inputs,) = given
    outputs.register_hook(  # type: ignore[no-untyped-call]
        partial(_product, gradient, inputs.detach().flatten(0, -2))
    )


def _product(gradient: torch.Tensor, inputs: torch.Tensor, outward: torch.Tensor) -> None:
    torch.mm(outward.flatten(0, -2).t(), inputs, out=gradient)
