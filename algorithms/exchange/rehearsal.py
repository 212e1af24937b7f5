"""Rehearsal of a worker's step without its rows, which records its gradients and accesses.

The exchange and the shared memory of a rehearsal have the interfaces of `algorithms.protocol`, as
far as asynchronous algorithms use them, and rows of no elements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algorithms.exchange.mpi import MPIExchange
from algorithms.protocol import Ready, Rows, Vector

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


class Stage:
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
