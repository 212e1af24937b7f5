"""Versions of the parameters of a stage: copies of its layers at a place of their own in memory.

A product of a matrix and one vector (a micro-batch of one sample) adds in an order that depends on
the place of the matrix in memory. Each tensor of a stored version begins at a multiple of ALIGNMENT
bytes, so that the result is independent of the cut.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch

ALIGNMENT = 64


class Version:
    """Layers of a stage, in pieces, with their parameters at one place in memory."""

    def __init__(self, pieces: Sequence[torch.nn.Module], row: torch.Tensor, own: bool) -> None:
        """Bind to the row (n,), or with `own` to memory of this object."""
        self.pieces = [copy.deepcopy(piece) for piece in pieces]
        self.parameters = [list(piece.parameters()) for piece in self.pieces]
        self._row = row
        flat = [p for each in self.parameters for p in each]
        for p, view in zip(flat, split(row, flat), strict=True):
            p.data = aligned(view) if own else view
        self.flat = flat

    def store(self) -> None:
        """Copy the row to the memory of this object."""
        self.load(self._row)

    def load(self, row: torch.Tensor) -> None:
        """Copy the parameters from another row, (n,), unnoticed by autograd."""
        for p, view in zip(self.flat, split(row, self.flat), strict=True):
            p.data.copy_(view)

    def save(self, row: torch.Tensor) -> None:
        """Copy the parameters to another row, (n,)."""
        for p, view in zip(self.flat, split(row, self.flat), strict=True):
            view.copy_(p.data)


def split(row: torch.Tensor, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return views of a row, (n,), with the shapes of these tensors."""
    parts = torch.split(row, [x.numel() for x in tensors])
    return [part.view(x.shape) for part, x in zip(parts, tensors, strict=True)]


def aligned(tensor: torch.Tensor) -> torch.Tensor:
    """Return a copy that begins at a multiple of ALIGNMENT bytes."""
    size = tensor.element_size()
    memory = torch.empty(tensor.numel() + ALIGNMENT // size, dtype=tensor.dtype)
    offset = -memory.data_ptr() % ALIGNMENT // size
    result = memory[offset : offset + tensor.numel()].view(tensor.shape)
    return result.copy_(tensor)
