"""Memory of rows, private or shared: makers of buffers, and the operations of algorithms on rows.

Algorithms restrict themselves to these operations, so that rows may also be in other memory than
that of NumPy arrays:

- `len(x)`, `x.shape`, `x.dtype`, `x.itemsize`, loops over rows, and views `x[i]`, `x[a:b]`,
  `x[:, a:b]`, `x.reshape(...)`
- in place: `x += y`, `-=`, `*=`, `/=`, where y is a number, rows, or an array of NumPy, (V, 1)
- copies: `x[...] = y`, also from and to staged arrays, and rows at a mask or at an index
- comparisons with a number, of one element a row, and their `any()`
- one element as a number: `float(x[i, j])`

No function of NumPy and no expression that allocates takes rows. Staged arrays are arrays of NumPy
without restriction.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Memory(Protocol):
    """Maker of the buffers of an algorithm."""

    def like(self, x: NDArray[Any], *shape: int, dtype: str = "") -> NDArray[Any]:
        """Return zeros in the memory of x: of its shape and dtype unless others are given."""

    def staged(self, *shape: int, dtype: DTypeLike = "float64") -> NDArray[Any]:
        """Return an array of zeros on the host, for code that computes with NumPy."""

    def bare(self, x: Any) -> Any:
        """Return rows as tasks and optimisers compute with them: an array, or a tensor."""


class Host:
    """Memory of the host, where rows are arrays of NumPy."""

    def like(self, x: NDArray[Any], *shape: int, dtype: str = "") -> NDArray[Any]:
        """Return zeros of the shape and dtype of x unless others are given."""
        return np.zeros(shape or x.shape, dtype or x.dtype)

    def staged(self, *shape: int, dtype: DTypeLike = "float64") -> NDArray[Any]:
        """Return an array of zeros."""
        return np.zeros(shape, dtype)

    def bare(self, x: Any) -> Any:
        """Return the rows, which are an array."""
        return x


class SharedVector(Protocol):
    """A (d,) vector that all workers read and change without waiting for each other."""

    def change(self, by: Callable[[slice, NDArray[np.floating]], None]) -> None:
        """Call by(elements, values) to change the values of each slice in place, atomically."""

    def read(self, out: NDArray[np.floating]) -> None:
        """Copy the vector to out, (d,), slice by slice; slices may be of different ages."""

    def local(self) -> AbstractContextManager[NDArray[np.floating]]:
        """Lock the slice that this rank stores and return it as a context."""

    def meet(self) -> None:
        """Wait until every rank has called this; collective."""


class SharedRows(Protocol):
    """The (V, d) rows of the workers of all ranks, any two of which can be averaged."""

    def local(self) -> AbstractContextManager[NDArray[np.floating]]:
        """Lock the (V, d) rows of this rank and return them as a context."""

    def average(self, worker: int, other: int) -> None:
        """Set the rows of two workers, the first one local, to their mean, atomically."""

    def meet(self) -> None:
        """Wait until every rank has called this; collective."""
