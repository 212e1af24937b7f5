"""What every optimiser works on: rows of numpy or of torch, a block at a time."""

from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

BLOCK = 64 * 1024
"""Elements at a time: parameters, gradient, state and step of a block share the cache."""

Rows: TypeAlias = Any
"""(V, d) rows as a numpy array or a torch tensor: their common arithmetic is used."""


def library(x: Rows) -> ModuleType:
    """numpy or torch, whose x is: their functions of the same name do the same."""
    if isinstance(x, np.ndarray):
        return np
    import torch

    return torch
