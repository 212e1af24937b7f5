"""Arithmetic of optimisers on rows of numpy or of torch, whole or block by block."""

from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

BLOCK = 128 * 1024
"""Elements of a block: its parameters, gradient, state and step share the cache."""

Rows: TypeAlias = Any
"""(V, d) rows as a numpy array or a torch tensor, by their common arithmetic."""


def library(x: Rows) -> ModuleType:
    """Return the library of x, numpy or torch: its functions of the same name do the same."""
    if isinstance(x, np.ndarray):
        return np
    import torch

    return torch


def view(x: Rows) -> Rows:
    """Return the memory of a tensor on the host as a numpy array.

    Tensors on a device, and of a type that numpy lacks, stay as they are.
    """
    if isinstance(x, np.ndarray) or x.device.type != "cpu" or x.itemsize < np.float32().itemsize:
        return x
    return x.numpy()


def lean(x: Rows) -> Rows:
    """Return one row as a numpy array, with cheaper calls than torch's; more rows as they are."""
    return view(x) if x.shape[0] == 1 else x


def sqrt(x: Rows, out: Rows) -> None:
    """Set out to the square roots of x, by numpy on the host: the same bits at any position.

    Those of torch are of MKL, and not always rounded to nearest.
    """
    x, out = view(x), view(out)
    library(x).sqrt(x, out=out)
