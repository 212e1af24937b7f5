"""Gradients of one worker by plain autograd; those of many are in `many_models`.

Parts of the gradient are reported while the backward pass runs. Li et al.: PyTorch Distributed:
Experiences on Accelerating Data Parallel Training, VLDB 2020, section 3.2, have the idea: the
all-reduce of the last layers overlaps the backward pass of the first ones. Gradients of large
linear layers are computed in their place, since autograd's would be copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from threading import get_ident
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from algorithms.protocol import Layer, Ready
from bench.tasks.model import Batch, Model


def mean_loss(logits: torch.Tensor, targets: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    """Return the mean cross-entropy, (), of logits (b, ..., classes) and target classes (b, ...).

    targets may be one-hot, (b, ..., classes). smoothing: weight of the uniform distribution in the
    targets (Szegedy et al., CVPR 2016, section 7).
    """
    last = logits.dim() - 2
    flat = logits.flatten(0, last), targets.flatten(0, last)
    return cross_entropy(*flat, label_smoothing=smoothing)


def at(rows: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return x on the device of the rows; numbers of a floating type in theirs."""
    return x.to(rows.device, rows.dtype if x.is_floating_point() else x.dtype)


def on_host(losses: torch.Tensor) -> NDArray[np.floating]:
    """Return losses as an array; those of bfloat16 as float32."""
    losses = losses.detach().cpu()
    array: NDArray[np.floating]
    array = (losses.float() if losses.dtype == torch.bfloat16 else losses).numpy()
    return array


class CrossEntropy:
    """Cross-entropy of logits (b, ..., classes), and the fraction of correct targets.

    smoothing: of the targets of `loss`; those of `sums` are as given.
    """

    one_hot: ClassVar[bool] = True

    def __init__(self, smoothing: float = 0.0) -> None:
        self._smoothing = smoothing

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy; see `mean_loss`."""
        return mean_loss(outputs, targets, self._smoothing)

    def part(self, outputs: torch.Tensor, targets: torch.Tensor, share: float) -> torch.Tensor:
        """Return the summed cross-entropy times the share of a target."""
        flat, smoothing = (outputs.flatten(0, -2), targets.flatten()), self._smoothing
        return cross_entropy(*flat, reduction="sum", label_smoothing=smoothing) * share

    def sums(self, outputs: torch.Tensor, targets: torch.Tensor) -> tuple[float, float]:
        """Return the summed cross-entropy and the number of correct targets."""
        logits, classes = outputs.flatten(0, -2), targets.flatten()
        loss = float(cross_entropy(logits, classes, reduction="sum"))
        return loss, float((logits.argmax(1) == classes).sum())

    def count(self, targets: torch.Tensor) -> int:
        """Return the number of targets."""
        return targets.numel()


class OneModel:
    """Gradient of one worker: a module with views of the row as parameters."""

    def __init__(self, problem: Model, rows: torch.Tensor, gradients: torch.Tensor) -> None:
        self._problem, self._loss = problem, problem.objective.loss
        self.x, self.g = rows, gradients
        self._views = [view[0] for view in problem.views(rows).values()]
        self._gradients = [view[0] for view in problem.views(gradients).values()]
        self._module = self._bind()
        self._parameters, self._copied = self._leaves()
        self._hooked: tuple[torch.nn.Module, FinishedParts] | None = None

    def fetch(self, indices: NDArray[np.int64]) -> Batch:
        """Return inputs (b, ...) and targets (b,)."""
        i = torch.from_numpy(indices[0])
        inputs, targets = self._problem.inputs[i], self._problem.targets[i]
        return at(self.x, inputs), at(self.x, targets)

    def gradient(self, batch: Batch, ready: Ready | None = None) -> NDArray[np.floating]:
        """Fill the gradient of the row; return the (1,) loss."""
        inputs, targets = batch
        if ready:
            module, parts = self._hooked or self._watch()
            loss = self._loss(module(inputs), targets)
            parts.fill(loss, ready)
        else:
            loss = self._loss(self._module(inputs), targets)
            gradients = torch.autograd.grad(loss, self._parameters)
            for view, gradient in zip(self._copied, gradients, strict=True):
                view.copy_(gradient)
        return on_host(loss).reshape(1)

    def _bind(self) -> torch.nn.Module:
        module = self._problem.build(seed=0).to(self.x.device)
        for parameter, view in zip(module.parameters(), self._views, strict=True):
            parameter.data = view
        return module

    def _leaves(self) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Return the leaves of autograd, and the views into which their gradients are copied."""
        views: dict[torch.Tensor, torch.Tensor]
        views = dict(zip(self._module.parameters(), self._gradients, strict=True))
        for layer in large_layers(self._module):
            write_gradient(layer, views.pop(layer.weight))
        return list(views), list(views.values())

    def _watch(self) -> tuple[torch.nn.Module, FinishedParts]:
        """Return a module of its own for hooks: without `ready` no step waits for hooks."""
        module = self._bind()
        parts = FinishedParts(list(module.parameters()), self._gradients, self._problem.layers)
        self._hooked = module, parts
        return self._hooked


class FinishedParts:
    """Gradients filled and reported layer by layer, by hooks on the parameters.

    parameters: leaves of the graph, in the order of the row. gradients: views of the rows of g, one
    a parameter, of its shape. layers: their positions in a row.
    """

    def __init__(
        self,
        parameters: Sequence[torch.Tensor],
        gradients: Sequence[torch.Tensor],
        layers: Sequence[Layer],
    ) -> None:
        self._parameters, self._gradients, self._layers = parameters, gradients, layers
        for i, parameter in enumerate(parameters):
            parameter.register_hook(partial(self._on_gradient, i))  # type: ignore[no-untyped-call]

    def fill(self, loss: torch.Tensor, ready: Ready) -> None:
        """Fill the gradients of a loss, (), of these parameters, and call ready for finished parts.

        The parts come from the last layer to the first, in any order of completion.
        """
        self._ready, self._thread = ready, get_ident()
        self._done = [False] * len(self._layers)
        self._left = len(self._layers)
        with torch.autograd.set_multithreading_enabled(False):  # also for a GPU
            torch.autograd.grad(loss, self._parameters)
        assert self._left == 0, f"{self._left} layers have no gradient"

    def _on_gradient(self, i: int, gradient: torch.Tensor) -> None:
        assert get_ident() == self._thread, (
            "without multithreading, torch runs the backward pass in the calling thread"
        )
        self._gradients[i].copy_(gradient)
        self._done[i] = True
        last = self._left
        while self._left and self._done[self._left - 1]:
            self._left -= 1
        if self._left < last:
            self._ready(self._layers[self._left].start, self._layers[last - 1].stop)


WORTH = 2**18
"""Minimum number of weights for which the copy costs more than a hook."""


def large_layers(module: torch.nn.Module) -> list[torch.nn.Linear]:
    """Return the linear layers for which `write_gradient` pays.

    Two kinds are left to autograd: layers without a bias, which would have no leaf to differentiate
    for, and weights in two layers, whose gradient is a sum.
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


def write_gradient(layer: torch.nn.Linear, gradient: torch.Tensor) -> None:
    """Make backward passes write the weight's gradient, bit for bit autograd's, to this tensor.

    The weight is no longer a leaf. The layer must be called once in a forward pass.
    """
    layer.weight.requires_grad_(False)
    layer.register_forward_hook(partial(_on_forward, gradient))


def _on_forward(
    gradient: torch.Tensor, _: torch.nn.Module, arguments: tuple[Any, ...], outputs: torch.Tensor
) -> None:
    (inputs,) = arguments
    outputs.register_hook(  # type: ignore[no-untyped-call]
        partial(_on_backward, gradient, inputs.detach().flatten(0, -2))
    )


def _on_backward(gradient: torch.Tensor, inputs: torch.Tensor, outward: torch.Tensor) -> None:
    torch.mm(outward.flatten(0, -2).t(), inputs, out=gradient)
