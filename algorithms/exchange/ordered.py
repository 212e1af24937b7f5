"""Exchange and shared memory of asynchronous algorithms under the model clock.

A rehearsal of a worker's step has no rows and records gradients and accesses, by the interfaces of
`algorithms.protocol` as far as asynchronous algorithms use them. So every rank knows the accesses
of all workers and their order (`algorithms.exchange.order`): rows move by messages whose two ends
both ranks know, and the result is the same on any number of ranks, to the bit. The rows of a worker
stay on its rank. A vector has a copy on every rank, of which that of the last rank with an access
is current.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from algorithms.exchange.mpi import MPIExchange
from algorithms.protocol import Ready, Rows, Vector, Workers
from algorithms.wire.meter import COPY, WAIT, Meter
from algorithms.wire.placement import Placement

if TYPE_CHECKING:
    from mpi4py import MPI

GRADIENT, AVERAGE, LOCK, CHANGE, READ = "gradient", "average", "lock", "change", "read"
"""Kinds of actions of a step."""


@dataclass(frozen=True)
class Action:
    """A gradient, or an access to shared memory, of one worker's step."""

    kind: str
    memory: int = 0
    """Number of the shared memory, in the order of its creation."""
    other: int = 0
    """The other worker of an average."""


class Alone:
    """The exchange of one worker.

    vector, rows: return the shared memory of a number; rows: that of a worker.
    """

    def __init__(
        self,
        exchange: MPIExchange,
        worker: int,
        vector: Callable[[int, Vector], Any],
        rows: Callable[[int, int, Rows], Any],
    ) -> None:
        self.ids, self.total = range(worker, worker + 1), exchange.total
        self.seed, self.meter = exchange.seed, exchange.meter
        self.links, self.mixing = exchange.links, exchange.mixing
        self.like, self.staged, self.rng = exchange.like, exchange.staged, exchange.rng
        self._vector, self._rows, self._count = vector, rows, 0

    def shared_vector(self, start: Vector) -> Any:
        """Return the vector that all workers change."""
        self._count += 1
        return self._vector(self._count - 1, start)

    def shared_rows(self, start: Rows) -> Any:
        """Return the rows that all workers average, with this worker's as the local one."""
        self._count += 1
        return self._rows(self.ids[0], self._count - 1, start)


class Stage(Workers):
    """Place of rehearsals: an exchange and a worker without rows, and the actions of a step."""

    def __init__(self, exchange: MPIExchange) -> None:
        self._exchange, self._actions = exchange, list[Action]()
        self.ids, self.total = range(1), exchange.total
        self.x, self.g = np.zeros((2, 1, 0), np.float32)
        self.samples = np.ones(self.total, np.int64)
        self.layers = ()
        self._losses = np.zeros(1)

    def of(self, worker: int) -> tuple[Any, Any]:
        """Return the exchange and the workers of a rehearsal of one worker."""

        def vector(number: int, start: Vector) -> Rehearsed:
            return Rehearsed(self.record, number)

        def rows(worker: int, number: int, start: Rows) -> Rehearsed:
            return Rehearsed(self.record, number)

        self.ids = range(worker, worker + 1)
        return Alone(self._exchange, worker, vector, rows), self

    def record(self, action: Action) -> None:
        """Add an action to those of the step."""
        self._actions.append(action)

    def take(self) -> list[Action]:
        """Return the actions since the last call."""
        actions, self._actions = self._actions, []
        return actions

    def gradient(self, ready: Ready | None = None) -> NDArray[np.floating]:
        """Record a gradient."""
        self.record(Action(GRADIENT))
        return self._losses

    def update(self) -> None:
        """Do nothing: updates take no time of their own."""


class Rehearsed:
    """Shared memory of a rehearsal, which records accesses."""

    def __init__(self, record: Callable[[Action], None], number: int) -> None:
        self._note, self._number = record, number
        self._nothing = np.zeros((1, 0), np.float32)

    def average(self, worker: int, other: int) -> None:
        """Record an average."""
        self._record(AVERAGE, other)

    def change(self, by: Callable[[slice, Vector], None]) -> None:
        """Record a change; `by` is not called."""
        self._record(CHANGE)

    def read(self, out: Vector) -> None:
        """Record a read."""
        self._record(READ)

    @contextmanager
    def local(self) -> Iterator[Vector]:
        """Record a lock of the own row; return no elements as a context."""
        self._record(LOCK)
        yield self._nothing

    def meet(self) -> None:
        """Return at once."""

    def _record(self, kind: str, other: int = 0) -> None:
        self._note(Action(kind, self._number, other))


NOBODY = -1
"""Rank of the current copy of a vector while all copies are equal."""


class OrderedVector:
    """A (d,) vector that workers change one after the other, in an order that all ranks know.

    `bring` and `settle` are collective. Until `settle` only the copy of the last owner is current.
    """

    def __init__(self, comm: MPI.Intracomm, start: Vector, meter: Meter) -> None:
        self._comm, self._meter, self._values = comm, meter, start.copy()
        self._owner, self._by_rank, self._received = NOBODY, False, False

    def bring(self, rank: int) -> None:
        """Send the vector from its last owner to a rank, the next owner; the others do nothing."""
        owner, here = self._owner, self._comm.rank
        self._owner = rank
        if owner in (NOBODY, rank):
            return
        if here == owner:
            self._comm.Send(self._values, dest=rank)
            self._meter.sent(self._values.nbytes, rank)
        elif here == rank:
            self._comm.Recv(self._values, source=owner)
            self._meter.bytes_copied -= self._values.nbytes  # counted where it was sent

    def settle(self) -> None:
        """Make all copies equal to the current one; collective."""
        if self._owner != NOBODY:
            self._comm.Bcast(self._values, root=self._owner)
            self._owner = NOBODY

    def end(self) -> None:
        """Let ranks change the vector in their order from now on, up to each `meet`; collective."""
        self.settle()
        self._by_rank = True

    def change(self, by: Callable[[slice, Vector], None]) -> None:
        """Call by(elements, values) to change the whole vector in place."""
        self._follow()
        by(slice(0, len(self._values)), self._values)
        self._meter.bytes_copied += 2 * self._values.nbytes
        self._meter.lap(COPY)

    def read(self, out: Vector) -> None:
        """Copy the vector to out, (d,)."""
        self._follow()
        out[:] = self._values
        self._meter.bytes_copied += self._values.nbytes
        self._meter.lap(COPY)

    @contextmanager
    def local(self) -> Iterator[Vector]:
        """Return this rank's copy as a context."""
        yield self._values

    def meet(self) -> None:
        """Make the changes of all ranks known to all, after `end`; collective there."""
        if not self._by_rank:
            return
        self._follow()
        last = self._comm.size - 1
        if self._comm.rank < last:
            self._comm.Send(self._values, dest=self._comm.rank + 1)
        self._comm.Bcast(self._values, root=last)
        self._received = False

    def _follow(self) -> None:
        """Receive the changes of the ranks before this one, after `end`."""
        if self._by_rank and not self._received:
            if self._comm.rank:
                self._comm.Recv(self._values, source=self._comm.rank - 1)
            self._received = True


class OrderedRows:
    """(V, d) rows of the workers of this rank, averaged in an order that all ranks know."""

    def __init__(
        self, comm: MPI.Intracomm, rows: Vector, placement: Placement, meter: Meter
    ) -> None:
        self._comm, self._rows, self._placement, self._meter = comm, rows, placement, meter
        self._lo, _ = placement.span(comm.rank)
        self._theirs = np.empty_like(rows[0])

    def average(self, worker: int, other: int) -> None:
        """Set the rows of two workers to their mean; on the rank of the first one."""
        row, home = self._rows[worker - self._lo], self._placement.rank_of(other)
        if home == self._comm.rank:
            theirs = self._rows[other - self._lo]
            row += theirs
            row *= 0.5
            theirs[:] = row
            self._meter.bytes_copied += 2 * row.nbytes
            self._meter.lap(COPY)
            return
        self._comm.Recv(self._theirs, source=home)
        row += self._theirs
        row *= 0.5
        self._send(row, home)

    def lend(self, worker: int, other: int) -> None:
        """Take part in an average that is not of this rank's first worker, as `other`'s rank."""
        if self._placement.rank_of(other) == self._comm.rank:
            row, home = self._rows[other - self._lo], self._placement.rank_of(worker)
            self._send(row, home)
            self._comm.Recv(row, source=home)

    def _send(self, row: Vector, rank: int) -> None:
        self._comm.Send(row, dest=rank)
        self._meter.sent(row.nbytes, rank)
        self._meter.lap(WAIT)

    @contextmanager
    def local(self) -> Iterator[Vector]:
        """Return the (V, d) rows of this rank as a context."""
        yield self._rows

    def of(self, worker: int) -> RowOf:
        """Return the rows as one worker of this rank sees them."""
        return RowOf(self, self._rows[worker - self._lo][None])

    def meet(self) -> None:
        """Return at once: every rank takes part in the accesses to its rows."""


class RowOf:
    """The shared rows as one worker sees them: its own row is the local one."""

    def __init__(self, whole: OrderedRows, row: NDArray[Any]) -> None:
        self.whole, self._row = whole, row

    def average(self, worker: int, other: int) -> None:
        """Set the rows of two workers to their mean; see OrderedRows."""
        self.whole.average(worker, other)

    @contextmanager
    def local(self) -> Iterator[Vector]:
        """Return the (1, d) row of the worker as a context."""
        yield self._row

    def meet(self) -> None:
        """Return at once; see OrderedRows."""
