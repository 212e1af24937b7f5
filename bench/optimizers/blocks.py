"""What every optimiser works on: rows of numpy or of torch, whole or a block at a time."""

from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

BLOCK = 128 * 1024
"""Elements at a time: parameters, gradient, state and step of a block share the cache."""

Rows: TypeAlias = Any
"""(V, d) rows as a numpy array or a torch tensor: their common arithmetic is used."""


def library(x: Rows) -> ModuleType:
    """numpy or torch, whose x is: their functions of the same name do the same."""
    if isinstance(x, np.ndarray):
        return np
    import torch

    return torch


def lean(x: Rows) -> Rows:
    """One row as a numpy array, whose calls cost less than torch's; more rows as they are."""
    return x.numpy() if x.shape[0] == 1 and not isinstance(x, np.ndarray) else x


def add(a: Rows, scale: float, b: Rows, out: Rows) -> None:
    """Out <- a + scale b; out may be either. Of tensors in one pass, with one rounding if the
    processor can: the same for every element, wherever it lies."""
    if isinstance(out, np.ndarray):
        np.add(a, scale * b, out=out)
    else:
        import torch

        torch.add(a, b, alpha=scale, out=out)
