"""Protocols of collectives: the all-reduce, and reduce-scatter, all-gather, broadcast, all-to-all.

All of the latter work on one vector of d elements on each of p ranks. `even` cuts it into p nearly
equal chunks, of which chunk c belongs to rank c:

    operation        before a call, on rank r     after it, on rank r
    reduce_scatter   a vector                     chunk r of the sum of all vectors
    all_gather       chunk r                      all chunks
    broadcast        on rank 0: a vector          the vector of rank 0
    all_to_all       a vector                     chunk r of the vectors of all ranks, in order
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from algorithms.wire.carrier import Carrier
from algorithms.wire.meter import Meter
from algorithms.wire.placement import Placement
from algorithms.wire.schedule import Schedule, even
from algorithms.wire.sums import Span

if TYPE_CHECKING:
    from mpi4py import MPI


class AllReduce(Protocol):
    """A plan that sums one vector over the ranks: built once, used every step.

    It owns its scratch memory and the memory of the vector. Fill `parts`, call the plan, and read
    `parts[0]` on every rank. `start` and `finish` are the two halves of a call; in between, the
    exchange progresses only in `test`.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        d: int,
        dtype: np.dtype[Any],
        placement: Placement,
        meter: Meter,
    ) -> None:
        """Plan for (d,) vectors that are sums over workers; collective.

        Supports any dtype that NumPy can add. Raises ValueError if these ranks are not supported.
        """

    @property
    def spans(self) -> Sequence[tuple[int, int]]:
        """Ranges [lo, hi) of this rank's workers, one for each part, which holds their sum."""
        ...

    @property
    def parts(self) -> Sequence[NDArray[Any]]:
        """Input sums, (d,) each, one for each span; parts[0] holds the result after a call."""
        ...

    def __call__(self, divisor: int = 1) -> None:
        """Replace parts[0] by the sum of all parts of all ranks, divided by divisor; collective.

        A divisor other than 1 requires a floating-point dtype.
        """
        ...

    def start(self, divisor: int = 1) -> None:
        """Start a call; do not touch the parts until `finish`; collective."""
        ...

    def test(self) -> bool:
        """Progress a started call without blocking; return True if only `finish` remains."""
        ...

    def finish(self) -> None:
        """Complete a call that was started; collective."""
        ...

    def close(self) -> None:
        """Release windows and communicators; collective."""
        ...


class Collective(Protocol):
    """A plan of one collective: created once, called any number of times."""

    vector: NDArray[Any]
    """(d,) input of this rank; a call may overwrite it."""
    result: NDArray[Any]
    """Output of this rank after a call."""

    def __init__(self, comm: MPI.Intracomm, d: int, dtype: np.dtype[Any], meter: Meter) -> None:
        """Plan for (d,) vectors of any dtype that NumPy can add; collective."""

    def __call__(self) -> None:
        """Move the data; collective."""

    def close(self) -> None:
        """Release the resources of MPI; collective."""


class ScheduledCollective(Carrier):
    """A collective by messages: a call moves the data.

    A subclass defines `schedule`, the messages of a rank, and `output`, the place of its result.
    """

    def __init__(self, comm: MPI.Intracomm, d: int, dtype: np.dtype[Any], meter: Meter) -> None:
        """Plan for (d,) vectors of any dtype that NumPy can add; collective."""
        plan = self.schedule(comm.rank, comm.size, d, dtype.itemsize)
        home = np.zeros(plan.home, dtype)
        self.vector = home[:d]
        self.result = home[slice(*self.output(comm.rank, comm.size, d))]
        super().__init__(comm, plan, [home], meter)

    @staticmethod
    @abstractmethod
    def schedule(rank: int, p: int, d: int, itemsize: int) -> Schedule:
        """Return the schedule of a rank of p for elements of `itemsize` bytes: a pure function."""

    @staticmethod
    @abstractmethod
    def output(rank: int, p: int, d: int) -> Span:
        """Return the elements of the home that hold the result of a rank."""


class ReduceScatter(ScheduledCollective):
    """Base of reduce-scatters: rank r keeps chunk r of the sum."""

    @staticmethod
    def output(rank: int, p: int, d: int) -> Span:
        """Return the chunk of the rank."""
        return chunk(rank, p, d)


class AllGather(ScheduledCollective):
    """Base of all-gathers: rank r contributes chunk r."""

    @staticmethod
    def output(rank: int, p: int, d: int) -> Span:
        """Return the whole vector."""
        return 0, d


class Broadcast(ScheduledCollective):
    """Base of broadcasts from rank 0."""

    @staticmethod
    def output(rank: int, p: int, d: int) -> Span:
        """Return the whole vector."""
        return 0, d


class AllToAll(ScheduledCollective):
    """Base of all-to-alls: the chunks for a rank arrive behind its own vector."""

    @staticmethod
    def output(rank: int, p: int, d: int) -> Span:
        """Return p chunks of the rank's size behind the vector."""
        lo, hi = chunk(rank, p, d)
        return d, d + p * (hi - lo)


def chunk(rank: int, p: int, d: int) -> Span:
    """Return the elements [lo, hi) of the chunk of a rank."""
    return rank * d // p, (rank + 1) * d // p


def widths(p: int, d: int) -> list[int]:
    """Return the number of elements of every chunk."""
    return [b - a for a, b in pairwise(even(0, d, p))]
