"""What an Exchange hands out: means and rows on their way, memory that all workers reach."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.floating]


class Mean(Protocol):
    """A mean on its way."""

    result: Vector
    """(V, d) rows in which it arrives, where `finish` is told of no others."""

    def test(self) -> None:
        """Let its messages go on, without waiting."""
        ...

    def finish(self, out: Vector | None = None) -> None:
        """Set out, (d,) or (V, d), or else the rows, to the mean; to be called once."""
        ...


class Pull(Protocol):
    """Rows on their way."""

    result: NDArray[Any]
    """Where they arrive: `out`."""

    def finish(self) -> None:
        """Wait until every row has arrived and `out` is filled; to be called once."""
        ...


class Landed:
    """A mean or a pull that has been on its way and is there: in `result`, since before."""

    def __init__(self, result: NDArray[Any]) -> None:
        self.result = result

    def test(self) -> None:
        """Nothing is on its way any more."""

    def finish(self, out: Vector | None = None) -> None:
        """Set out, (d,) or (V, d), to the result; to be called once."""
        if out is not None:
            out[...] = self.result if out.ndim == 2 else self.result[0]


class SharedVector(Protocol):
    """A (d,) vector that all workers read and change without waiting for each other."""

    def change(self, by: Callable[[slice, Vector], None]) -> None:
        """Let by(where, values) change the values of each slice in place, atomically."""
        ...

    def read(self, out: Vector) -> None:
        """Set out, (d,), to the vector; slices may be of different ages."""
        ...

    def mine(self) -> AbstractContextManager[Vector]:
        """The slice that lies with this rank, held alone."""
        ...

    def meet(self) -> None:
        """Return when every rank has come here; collective."""
        ...


class SharedRows(Protocol):
    """The rows of all workers, which any worker may average its own with."""

    def mine(self) -> AbstractContextManager[Vector]:
        """The (V, d) rows of this rank, held alone."""
        ...

    def average(self, worker: int, other: int) -> None:
        """Set the rows of a worker of this rank and of another one to their mean, atomically."""
        ...

    def meet(self) -> None:
        """Return when every rank has come here; collective."""
        ...


Rows: TypeAlias = NDArray[np.floating]
"""(V, d), C-contiguous, float32 or float64: one row a worker of this rank."""
