"""Memory of rows, private or shared: makers of buffers, and the operations of algorithms on rows.

Algorithms restrict themselves to these operations, so that rows may also be in other memory than
that of NumPy arrays:

- `len(x)`, `x.shape`, `x.dtype`, `x.itemsize`, loops over rows, and views `x[i]`, `x[a:b]`,
  `x[:, a:b]`, `x.reshape(...)`
- in place: `x += y`, `-=`, `*=`, `/=`, where y is a number, rows, or an array of NumPy, (V, 1)
- copies: `x[...] = y`, also from and to staged arrays, and rows at a mask or at an index
- comparisons of one element per row with a number, and their `any()`
- one element as a number: `float(x[i, j])`

Algorithms pass rows neither to functions of NumPy nor to expressions that allocate. Staged arrays
are arrays of NumPy without restriction.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

if TYPE_CHECKING:
    from mpi4py import MPI


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


SHARED = Path("/dev/shm")
"""File system of shared windows on Linux; 64 MB in a container of Docker by default."""
SHARE = 0.9
"""Usable share of the free space: messages of MPI need some, too."""


class RoomError(ValueError):
    """Lack of room for a window in shared memory; raised on every rank."""


def free_bytes(folder: Path) -> int | None:
    """Return the free bytes of the file system of a folder; None if the folder does not exist."""
    try:
        system = os.statvfs(folder)
    except OSError:
        return None
    return system.f_bavail * system.f_frsize


def require_room(comm: MPI.Intracomm, nbytes: int) -> None:
    """Check that every host has room for a window; collective. Errors: RoomError on every rank.

    MPI libraries create a window for which there is no room, and then fail at its use, by a signal
    or with an error code.

    nbytes: part of the window on this rank. The only rank of a host uses private memory.
    """
    from mpi4py import MPI

    split = comm.Split_type(MPI.COMM_TYPE_SHARED, comm.rank)
    needed = split.allreduce(nbytes)
    free = free_bytes(SHARED) if split.size > 1 else None
    split.Free()
    lacks = free is not None and needed > SHARE * free
    reasons = comm.allgather(
        f"a window of MPI needs {_megabytes(needed)} in {SHARED} of {socket.gethostname()}, which "
        f"has {_megabytes(free or 0)} free: enlarge it (docker run --shm-size=4g), or take a "
        "smaller model"
        if lacks
        else ""
    )
    if reason := next(filter(None, reasons), ""):
        raise RoomError(reason)


def _megabytes(nbytes: int) -> str:
    return f"{nbytes / 1e6:,.3g} MB" if nbytes < 1e9 else f"{nbytes / 1e9:,.3g} GB"
