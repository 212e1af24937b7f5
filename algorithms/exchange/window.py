"""Memory that all workers change without waiting for each other: one-sided MPI, no server.

A vector lies in slices, one a rank; rows lie with their workers. Every change is made under an
exclusive lock of the slice or the rows (passive target), so what one takes and what another adds
never mix. No rank has to take part in what others do to its memory, and none holds more than two
locks, taken in ascending order: nobody waits in a circle, at any number of ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from algorithms.wire.meter import COPY, OTHER, WAIT, Meter

if TYPE_CHECKING:
    from mpi4py import MPI

    from algorithms.exchange.trouble import Shaper

Vector = NDArray[np.floating]


class Window:
    """n elements of this rank in an MPI window. Collective to build and to close."""

    def __init__(
        self,
        comm: MPI.Intracomm,
        n: int,
        dtype: np.dtype[Any],
        meter: Meter,
        shaper: Shaper | None,
    ) -> None:
        from mpi4py import MPI

        self._comm, self._meter, self._shaper = comm, meter, shaper
        self._win = MPI.Win.Allocate(n * dtype.itemsize, dtype.itemsize, comm=comm)
        memory: Any = self._win.tomemory() if n else bytearray()
        self.mine: Vector = np.ndarray(n, dtype, memory)
        """(n,) the elements; to be touched inside `locked(own rank)`."""
        with self.locked(comm.rank):
            self.mine[:] = 0
        comm.Barrier()

    @contextmanager
    def locked(self, *ranks: int) -> Iterator[None]:
        """Hold the memory of these ranks alone."""
        self._meter.lap(OTHER)
        held = sorted(set(ranks))
        for rank in held:
            self._win.Lock(rank)
        if self._comm.rank in held:
            self._win.Sync()
        self._meter.lap(WAIT)
        try:
            yield
        finally:
            self._meter.lap(COPY)
            if self._comm.rank in held:
                self._win.Sync()
            for rank in reversed(held):
                self._win.Unlock(rank)
            self._meter.lap(WAIT)

    def get(self, rank: int, at: int, out: Vector) -> None:
        """Read from a rank that is locked; out is filled on return."""
        if rank == self._comm.rank:
            out[:] = self.mine[at : at + len(out)]
            self._meter.bytes_copied += out.nbytes
            return
        self._win.Get(out, rank, at)
        self._win.Flush(rank)
        self._count(rank, out)

    def put(self, rank: int, at: int, values: Vector) -> None:
        """Write to a rank that is locked; values must stay until it is unlocked."""
        if rank == self._comm.rank:
            self.mine[at : at + len(values)] = values
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
        """Return when every rank has come here: what they did before is done; collective."""
        self._comm.Barrier()

    def close(self) -> None:
        """Free the window; collective."""
        self.mine = self.mine[:0]
        self._win.Free()


class SharedVector:
    """A (d,) vector that every worker reads and changes, in slices that lie with the ranks.

    Collective to build and to close; everything else is for one rank alone.
    """

    def __init__(self, make: Callable[[int], Window], start: Vector, rank: int, ranks: int) -> None:
        d, self._rank = len(start), rank
        self._edges = [r * d // ranks for r in range(ranks + 1)]
        self._order = [(rank + 1 + i) % ranks for i in range(ranks)]
        """In which order this rank goes through the slices: each rank begins with another."""
        self._scratch = np.empty_like(start, shape=max(np.diff(self._edges)))
        self._window = make(self._edges[rank + 1] - self._edges[rank])
        with self._window.locked(rank):
            self._window.mine[:] = start[self._edges[rank] : self._edges[rank + 1]]
        self._window.meet()

    def change(self, by: Callable[[slice, Vector], None]) -> None:
        """Let by(where, values) change the values of every slice in place, one slice at a time.

        where: its elements. No other worker reads or changes the slice in between.
        """
        for rank in self._order:
            where = slice(self._edges[rank], self._edges[rank + 1])
            values = self._scratch[: where.stop - where.start]
            with self._window.locked(rank):
                self._window.get(rank, 0, values)
                by(where, values)
                self._window.put(rank, 0, values)

    def read(self, out: Vector) -> None:
        """Set out, (d,), to the vector, slice by slice."""
        for rank in self._order:
            with self._window.locked(rank):
                self._window.get(rank, 0, out[self._edges[rank] : self._edges[rank + 1]])

    @contextmanager
    def mine(self) -> Iterator[Vector]:
        """The slice that lies with this rank, held alone."""
        with self._window.locked(self._rank):
            yield self._window.mine

    def meet(self) -> None:
        """Return when every rank has come here; collective."""
        self._window.meet()


class SharedRows:
    """(V, d) rows of this rank's workers, which other workers may average theirs with.

    Collective to build and to close; everything else is for one rank alone.
    """

    def __init__(
        self, make: Callable[[int], Window], start: Vector, bounds: list[int], rank: int
    ) -> None:
        self._bounds, self._rank = bounds, rank
        self._window = make(start.size)
        self._shape = start.shape
        self._theirs = np.empty_like(start[0])
        with self.mine() as rows:
            rows[:] = start
        self._window.meet()

    @contextmanager
    def mine(self) -> Iterator[Vector]:
        """The (V, d) rows of this rank, held alone."""
        with self._window.locked(self._rank):
            yield self._window.mine.reshape(self._shape)

    def average(self, worker: int, other: int) -> None:
        """Set the rows of two workers, the first of this rank, to their mean, atomically."""
        home = int(np.searchsorted(self._bounds, other, side="right")) - 1
        d = self._shape[1]
        at = (other - self._bounds[home]) * d
        with self._window.locked(self._rank, home):
            row = self._window.mine.reshape(self._shape)[worker - self._bounds[self._rank]]
            self._window.get(home, at, self._theirs)
            row += self._theirs
            row *= 0.5
            self._window.put(home, at, row)

    def meet(self) -> None:
        """Return when every rank has come here; collective."""
        self._window.meet()
