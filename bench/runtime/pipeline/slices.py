"""Columns of the rows of parameters that each column of a grid of ranks has."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from algorithms.pipelines import cut
from algorithms.pipelines.grid import Grid
from algorithms.pipelines.protocol import Pipeline
from algorithms.protocol import Layer, consecutive_layers
from bench.common.spec import UserError
from bench.common.text import counted

if TYPE_CHECKING:
    from mpi4py import MPI


def stage_bounds(pipeline: Pipeline, units: Sequence[int], option: str = "--pipeline") -> list[int]:
    """Return the first unit of each stage, then the number of units.

    units: number of parameters of each unit. Errors: UserError.
    """
    if pipeline.stages > len(units):
        raise UserError(
            f"{option}: {pipeline.stages} stages are more than the {counted(len(units), 'unit')} "
            "of the model, the layers that have parameters: take fewer stages, or a deeper model"
        )
    if not pipeline.cut:
        return cut.balanced(units, pipeline.stages)
    try:
        return cut.parse(pipeline.cut, pipeline.stages, len(units))
    except ValueError as error:
        raise UserError(f"{option}: {error}") from None


class Slices:
    """Columns of a row of d parameters by column of the grid.

    layers: of the whole row. A column of the grid has the parameters of its stages, one stage after
    the other.
    """

    def __init__(
        self, pipeline: Pipeline, grid: Grid, units: Sequence[int], layers: Sequence[Layer]
    ) -> None:
        self.bounds = stage_bounds(pipeline, units)
        edges = [0, *accumulate(units)]
        self._d = edges[-1]
        self._spans = [
            [(edges[self.bounds[s]], edges[self.bounds[s + 1]]) for s in grid.stages(pipeline, j)]
            for j in range(grid.columns)
        ]
        self._layers = layers

    def width(self, column: int) -> int:
        """Return the number of parameters of a column of the grid."""
        return sum(hi - lo for lo, hi in self._spans[column])

    def layers(self, column: int) -> list[Layer]:
        """Return the layers of a column, in its own positions."""
        shapes = [
            layer.shape
            for lo, hi in self._spans[column]
            for layer in self._layers
            if lo <= layer.start < hi
        ]
        return consecutive_layers(shapes)

    def take(self, rows: NDArray[np.floating], column: int) -> NDArray[np.floating]:
        """Return the elements of a column, (..., width), of rows (..., d)."""
        return np.concatenate([rows[..., lo:hi] for lo, hi in self._spans[column]], axis=-1)

    def put(self, part: NDArray[np.floating], column: int, rows: NDArray[np.floating]) -> None:
        """Set the elements of a column of rows (..., d) to part, (..., width)."""
        at = 0
        for lo, hi in self._spans[column]:
            rows[..., lo:hi] = part[..., at : at + hi - lo]
            at += hi - lo

    def whole(self, pipe: MPI.Intracomm, part: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return rows (..., d) from the parts (..., width) of the ranks of a row; collective."""
        rows = np.empty((*part.shape[:-1], self._d), part.dtype)
        self.put(part, pipe.rank, rows)
        for column in range(pipe.size):
            other = (
                np.ascontiguousarray(part)
                if column == pipe.rank
                else np.empty((*part.shape[:-1], self.width(column)), part.dtype)
            )
            pipe.Bcast(other, column)
            self.put(other, column, rows)
        return rows
