"""Gradients of large linear layers, written where they are wanted: autograd's would be copied."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

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
