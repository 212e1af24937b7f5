"""Place of a rank in the grid of a run: its row of workers and its column of stages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from algorithms.pipelines.grid import Grid
from bench.runtime.pipeline.slices import Slices

if TYPE_CHECKING:
    from mpi4py import MPI


@dataclass(frozen=True)
class Cell:
    """Place of a rank in the grid, and its communicators.

    Without a pipeline, or with whole pipelines on every rank, the grid has one column.
    """

    grid: Grid
    column: int
    peers: MPI.Intracomm
    """Ranks with the same stages, by row: those between which rows of parameters travel."""
    pipe: MPI.Intracomm | None = None
    """Ranks with the same workers, by column; None for one column."""
    slices: Slices | None = None
    """Columns of the rows of parameters by column of the grid; None without a pipeline."""

    @classmethod
    def of(cls, comm: MPI.Intracomm, grid: Grid, slices: Slices | None = None) -> Cell:
        """Return the cell of this rank; collective."""
        from mpi4py import MPI

        if grid.columns == 1:
            return cls(grid, 0, comm, None, slices)
        row, column = grid.cell(comm.rank)
        peers, pipe = comm.Split(column, row), comm.Split(row, column)
        assert isinstance(peers, MPI.Intracomm)
        assert isinstance(pipe, MPI.Intracomm)
        return cls(grid, column, peers, pipe, slices)

    @property
    def width(self) -> int:
        """Return the number of parameters on this rank; 0 without a pipeline, for all."""
        return self.slices.width(self.column) if self.slices else 0

    @property
    def ranks(self) -> list[int]:
        """Return the ranks of the run in this row of the grid; empty for one column."""
        columns = self.grid.columns
        return [self.peers.rank * columns + j for j in range(columns)] if self.pipe else []

    def whole(self, rows: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return whole rows, (..., d), from the columns of this rank; collective in a row."""
        if self.pipe is None or self.slices is None:
            return rows
        return self.slices.whole(self.pipe, rows)

    def joined(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return whole rows, if the last axis of an array has the columns; collective in a row."""
        if self.pipe is None:
            return array
        sliced = array.shape[-1:] == (self.width,)
        return self.whole(array) if all(self.pipe.allgather(sliced)) else array

    def parted(self, array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the columns of this rank of whole rows; an array of this shape as it is."""
        if array.shape == shape or self.slices is None:
            return array
        return self.slices.take(array, self.column)

    def total(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum over the columns of the grid, in their order; collective in a row."""
        if self.pipe is None:
            return values
        sums: NDArray[np.float64] = np.sum(self.pipe.allgather(values), axis=0)
        return sums

    def close(self) -> None:
        """Free the communicators; collective."""
        if self.pipe is not None:
            self.peers.Free()
            self.pipe.Free()
