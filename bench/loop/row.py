"""Parameters of a torch module as views of one row, and the mistakes that prevent it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from algorithms.protocol import Layer, consecutive_layers
from bench.common.spec import UserError

Parameters: TypeAlias = Mapping[str, torch.nn.Parameter]
"""Parameters by name, in the order of the row; a tied parameter occurs once."""

MOST_NAMES = 4
"""Maximum number of parameters that a message names."""
DTYPES = (torch.float32, torch.float64)


def trainable(module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Parameters:
    """Return the parameters that require a gradient, checked; frozen ones stay outside the row.

    Errors: UserError for parameters that one row cannot hold, or that the optimizer does not
    update.
    """
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if not parameters:
        raise UserError(
            f"{type(module).__name__} has no parameter that requires a gradient: nothing to train"
        )
    _check_dtypes(parameters)
    _check_memory(parameters)
    _check_optimizer(parameters, optimizer)
    return parameters


def _check_dtypes(parameters: Parameters) -> None:
    first, *others = parameters
    for name in others:
        if parameters[name].dtype != parameters[first].dtype:
            texts = (f"{x} is {_text(parameters[x].dtype)}" for x in (first, name))
            raise UserError(
                f"parameters have several dtypes, {' and '.join(texts)}: give the module one, as "
                "model.float() does"
            )
    if parameters[first].dtype not in DTYPES:
        raise UserError(
            f"parameters are {_text(parameters[first].dtype)}, and float32 or float64 are "
            "exchanged: call model.float() before attach"
        )
    for name, parameter in parameters.items():
        if parameter.device.type != "cpu":
            raise UserError(
                f"parameter {name} is on {parameter.device}, and the exchange takes memory of the "
                "CPU: call model.cpu() before the optimizer is made"
            )


def _check_memory(parameters: Parameters) -> None:
    """Check that no two parameters have elements in common. Errors: UserError."""
    spans = sorted((*_span(p), name) for name, p in parameters.items())
    for (_, stop, name), (start, _, other) in pairwise(spans):
        if start < stop:
            raise UserError(
                f"parameters {name} and {other} share memory: tie them as one Parameter, "
                f"a.weight = b.weight, or give each its own, torch.nn.Parameter(weight.clone())"
            )


def _span(parameter: torch.Tensor) -> tuple[int, int]:
    """Return the first byte of a tensor in memory, and the first one behind it."""
    reach = sum(
        (n - 1) * stride for n, stride in zip(parameter.shape, parameter.stride(), strict=True)
    )
    first = parameter.data_ptr()
    return first, first + (reach + 1) * parameter.element_size()


def _check_optimizer(parameters: Parameters, optimizer: torch.optim.Optimizer) -> None:
    """Check that the optimizer updates these parameters alone. Errors: UserError."""
    updated = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
    known, reached = {id(p) for p in parameters.values()}, {id(p) for p in updated}
    missing = [name for name, p in parameters.items() if id(p) not in reached]
    if missing:
        raise UserError(
            f"the optimizer does not update {some(missing)}: give it model.parameters(), or "
            "freeze them by requires_grad_(False)"
        )
    strange = [tuple(p.shape) for p in updated if id(p) not in known]
    if strange:
        raise UserError(
            f"the optimizer updates a parameter of shape {strange[0]} that is not in the module: "
            "attach a module that holds all, as torch.nn.ModuleList([a, b])"
        )
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise UserError(
            f"{type(optimizer).__name__} evaluates the loss within its step, before an exchange "
            "can happen: take an optimizer whose step needs no closure, as SGD or Adam"
        )


def some(names: Sequence[str]) -> str:
    """Return the first names of a list as text."""
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _text(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def layers_of(parameters: Parameters) -> Sequence[Layer]:
    """Return the position of each parameter in the row."""
    return consecutive_layers(tuple(p.shape) for p in parameters.values())


def pieces(row: NDArray[np.floating], layers: Sequence[Layer]) -> list[torch.Tensor]:
    """Return views of a row, (d,), one of the shape of each layer."""
    flat = torch.from_numpy(row)
    return [flat[layer.start : layer.stop].view(layer.shape) for layer in layers]


def move_into(parameters: Parameters, views: Sequence[torch.Tensor]) -> None:
    """Copy the parameters into views, which become their memory."""
    with torch.no_grad():
        for parameter, view in zip(parameters.values(), views, strict=True):
            view.copy_(parameter)
            parameter.data = view


def move_out(parameters: Parameters) -> None:
    """Give every parameter memory of its own again, and no gradient."""
    for parameter in parameters.values():
        parameter.data = parameter.data.clone()
        parameter.grad = None


def averaged_buffers(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the buffers that a mean makes sense of: those of floating point."""
    return {name: b for name, b in module.named_buffers() if b.is_floating_point()}
