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


def lean(x: Rows) -> Rows:
    """Return one row as a numpy array, with cheaper calls than torch's; more rows as they are."""
    return x.numpy() if x.shape[0] == 1 and not isinstance(x, np.ndarray) else x
