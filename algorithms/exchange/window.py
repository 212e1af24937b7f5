"""Shared memory of asynchronous algorithms: one-sided MPI, without a server.

Every rank stores a slice of a shared vector, or the rows of its workers. Every change happens under
an exclusive lock of the slice or the rows (passive target), so that changes never interleave. The
target rank takes no part, and no rank holds more than two locks, acquired in ascending order:
deadlock is impossible at any number of ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from algorithms.wire.memory import require_room
from algorithms.wire.meter import COPY, OTHER, WAIT, Meter
from algorithms.wire.placement import Placement
from algorithms.wire.waiting import meet

if TYPE_CHECKING:
    from mpi4py import MPI

    from algorithms.exchange.shaper import Delays

Vector = NDArray[np.floating]


class Window:
    """n elements of this rank in an MPI window. Collective to create and to close.

    Errors: RoomError on every rank.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        n: int,
        dtype: np.dtype[Any],
        meter: Meter,
        shaper: Delays | None,
    ) -> None:
        from mpi4py import MPI

        self._comm, self._meter, self._shaper = comm, meter, shaper
        require_room(comm, n * dtype.itemsize)
        self._win = MPI.Win.Allocate(n * dtype.itemsize, dtype.itemsize, comm=comm)
        memory: Any = self._win.tomemory() if n else bytearray()
        self.local: Vector = np.ndarray(n, dtype, memory)
        """(n,) elements of this rank; use them inside `locked(own rank)`."""
        with self.locked(comm.rank):
            self.local[:] = 0
        meet(comm)

    @contextmanager
    def locked(self, *ranks: int) -> Iterator[None]:
        """Lock the memory of these ranks exclusively, as a context."""
        self._meter.lap(OTHER)
        locks = sorted(set(ranks))
        for rank in locks:
            self._win.Lock(rank)
        if self._comm.rank in locks:
            self._win.Sync()
        self._meter.lap(WAIT)
        try:
            yield
        finally:
            self._meter.lap(COPY)
            if self._comm.rank in locks:
                self._win.Sync()
            for rank in reversed(locks):
                self._win.Unlock(rank)
            self._meter.lap(WAIT)

    def get(self, rank: int, at: int, out: Vector) -> None:
        """Read from a locked rank into out, (m,), complete on return."""
        if rank == self._comm.rank:
            out[:] = self.local[at : at + len(out)]
            self._meter.bytes_copied += out.nbytes
            return
        self._win.Get(out, rank, at)
        self._win.Flush(rank)
        self._count(rank, out)

    def put(self, rank: int, at: int, values: Vector) -> None:
        """Write values, (m,), to a locked rank; leave them alone until it is unlocked."""
        if rank == self._comm.rank:
            self.local[at : at + len(values)] = values
            self._meter.bytes_copied += values.nbytes
            return
        self._win.Put(values, rank, at)
        self._win.Flush(rank)
        self._count(rank, values)

    def _count(self, rank: int, moved: Vector) -> None:
        self._meter.sent(moved.nbytes, rank, awaited=False)
        if self._shaper:
            self._shaper.alone(moved.nbytes)
        self._meter.lap(WAIT)

    def meet(self) -> None:
        """Wait until every rank has called this; their earlier changes are complete; collective."""
        meet(self._comm)

    def close(self) -> None:
        """Free the window; collective."""
        self.local = self.local[:0]
        self._win.Free()


class SharedVector:
    """A (d,) vector that every worker reads and changes; every rank stores a slice.

    Collective to create and to close; other methods are not collective.
    """

    def __init__(self, make: Callable[[int], Window], start: Vector, rank: int, ranks: int) -> None:
        d, self._rank = len(start), rank
        self._edges = [r * d // ranks for r in range(ranks + 1)]
        self._order = [(rank + 1 + i) % ranks for i in range(ranks)]
        """Order of the slices for this rank: each rank begins with another one."""
        self._scratch = np.empty_like(start, shape=max(np.diff(self._edges)))
        self._window = make(self._edges[rank + 1] - self._edges[rank])
        with self._window.locked(rank):
            self._window.local[:] = start[self._edges[rank] : self._edges[rank + 1]]
        self._window.meet()

    def change(self, by: Callable[[slice, Vector], None]) -> None:
        """Call by(elements, values) to change every slice in place, one after the other.

        elements: those of the slice. No other worker reads or changes the slice meanwhile.
        """
        for rank in self._order:
            where = slice(self._edges[rank], self._edges[rank + 1])
            values = self._scratch[: where.stop - where.start]
            with self._window.locked(rank):
                self._window.get(rank, 0, values)
                by(where, values)
                self._window.put(rank, 0, values)

    def read(self, out: Vector) -> None:
        """Copy the vector to out, (d,), slice by slice."""
        for rank in self._order:
            with self._window.locked(rank):
                self._window.get(rank, 0, out[self._edges[rank] : self._edges[rank + 1]])

    @contextmanager
    def local(self) -> Iterator[Vector]:
        """Lock the slice of this rank and return it as a context."""
        with self._window.locked(self._rank):
            yield self._window.local

    def meet(self) -> None:
        """Wait until every rank has called this; collective."""
        self._window.meet()


class SharedRows:
    """(V, d) rows of the workers of this rank, which other workers average with theirs.

    Collective to create and to close; other methods are not collective.
    """

    def __init__(
        self, make: Callable[[int], Window], start: Vector, placement: Placement, rank: int
    ) -> None:
        self._placement, self._rank = placement, rank
        self._window = make(start.size)
        self._shape = start.shape
        self._theirs = np.empty_like(start[0])
        with self.local() as rows:
            rows[:] = start
        self._window.meet()

    @contextmanager
    def local(self) -> Iterator[Vector]:
        """Lock the (V, d) rows of this rank and return them as a context."""
        with self._window.locked(self._rank):
            yield self._window.local.reshape(self._shape)

    def average(self, worker: int, other: int) -> None:
        """Set the rows of two workers, the first one local, to their mean, atomically."""
        placement = self._placement
        home = placement.rank_of(other)
        d = self._shape[1]
        at = (other - placement.bounds[home]) * d
        with self._window.locked(self._rank, home):
            row = self._window.local.reshape(self._shape)[worker - placement.bounds[self._rank]]
            self._window.get(home, at, self._theirs)
            row += self._theirs
            row *= 0.5
            self._window.put(home, at, row)

    def meet(self) -> None:
        """Wait until every rank has called this; collective."""
        self._window.meet()
