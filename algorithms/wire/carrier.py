"""Execution of schedules over MPI: persistent requests, adds while the next messages travel."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from algorithms.wire.bfloat16 import ENCODED, add, decoded, encode
from algorithms.wire.meter import COPY, OTHER, RECEIVED, SENT, WAIT, Meter
from algorithms.wire.placement import Placement
from algorithms.wire.schedule import Piece, Round, Schedule, added, start_times
from algorithms.wire.sums import Span
from algorithms.wire.waiting import wait

if TYPE_CHECKING:
    from mpi4py import MPI

Vector: TypeAlias = NDArray[Any]

MOST_BYTES = 2**30
"""Maximum size of a message: MPI counts in 32-bit integers, longer ones are split."""
FIRST_TAG, TAGS = 1024, 16384
"""First tag and number of tags: every plan has its own, so that started plans do not mix."""

_COUNTER: list[int] = []


def next_tag(comm: MPI.Intracomm) -> int:
    """Return a tag that no other plan of this communicator uses; the same on all its ranks."""
    from mpi4py import MPI

    if not _COUNTER:
        _COUNTER.append(MPI.Comm.Create_keyval())
    number = comm.Get_attr(_COUNTER[0]) or 0
    comm.Set_attr(_COUNTER[0], number + 1)
    return FIRST_TAG + int(number) % TAGS


class Carrier:
    """Executes the schedule of this rank on a home array any number of times; collective to call.

    home: at most (schedule.home,) elements of any dtype, contiguous, read and written in place;
    the carrier allocates the rest. Elements of ENCODED are bfloat16.

    Rounds overlap as far as the window of the schedule and their memory allow. They start and end
    in order, so that messages between two ranks match.
    """

    def __init__(self, comm: MPI.Intracomm, schedule: Schedule, home: Vector, meter: Meter) -> None:
        self._comm, self._tag, self._meter = comm, next_tag(comm), meter
        self._watch = meter.watch(comm)
        self._most = max(1, MOST_BYTES // home.itemsize)
        self._home, self._rest = home, np.empty(schedule.home - len(home), home.dtype)
        rounds = schedule.rounds
        times = start_times(rounds, schedule.window)
        slots = max((k - (t + 1) // 2 + 1 for k, t in enumerate(times)), default=1)
        slot = max((added(each) for each in rounds), default=0)
        self._inbox = np.empty(slots * slot, home.dtype)
        self._requests: list[list[MPI.Prequest]] = []
        self._ops: list[list[tuple[str, Vector, Vector]]] = []
        self._starts: list[list[MPI.Prequest]] = [[] for _ in range(2 * len(rounds) + 1)]
        """Requests to start by the times of `start_times`, the first ones at the call."""
        for k, each in enumerate(rounds):
            requests, ops = self._prepare(each, slot * (k % slots))
            self._requests.append(requests)
            self._ops.append(ops)
            self._starts[times[k] + 1] += requests
        sends = [x for each in rounds for x in each.sends]
        self._messages = sum(-(-(x.hi - x.lo) // self._most) for x in sends)
        self._bytes = sum(x.hi - x.lo for x in sends) * home.itemsize
        self._at, self._divisor = len(rounds), 1

    def __call__(self, divisor: int = 1) -> None:
        """Execute all rounds; collective."""
        self.start(divisor)
        self.finish()

    def start(self, divisor: int = 1) -> None:
        """Start the first rounds; leave the home alone until `finish`; collective."""
        self._at, self._divisor = 0, divisor
        self._meter.messages += self._messages
        self._meter.bytes_sent += self._bytes
        for request in self._starts[0]:
            request.Start()

    def test(self) -> bool:
        """Process the messages that have arrived without blocking; return True at the end."""
        while self._at < len(self._requests):
            if not all(request.Test() for request in self._requests[self._at]):
                return False
            self._complete()
        return True

    def finish(self) -> None:
        """Complete a call that was started."""
        meter = self._meter
        while self._at < len(self._requests):
            wait(self._requests[self._at])
            meter.lap(WAIT)
            self._complete()

    def _complete(self) -> None:
        """Add the messages of a round that have arrived and start the requests that wait for it."""
        at = self._at
        for request in self._starts[2 * at + 1]:
            request.Start()
        for do, into, other in self._ops[at]:
            if do == "add" and into.dtype == ENCODED:
                add(into, other)
            elif do == "add":
                np.add(into, other, out=into)
            elif do == "copy":
                into[:] = other
            else:
                divide_in_place(into, self._divisor)
        for request in self._starts[2 * at + 2]:
            request.Start()
        self._at = at + 1
        self._meter.lap(COPY)

    def close(self) -> None:
        """Free the requests."""
        for request in (x for requests in self._requests for x in requests):
            request.Free()
        self._requests, self._ops, self._starts = [], [], []

    def _prepare(
        self, each: Round, inbox: int
    ) -> tuple[list[MPI.Prequest], list[tuple[str, Vector, Vector]]]:
        """Return the requests of a round, receives first, and its operations on views."""
        at, requests, ops = self._view, [], []
        for piece in each.receives:
            target = at(piece.lo, piece.hi)
            if piece.add:
                incoming = self._inbox[inbox : inbox + len(target)]
                inbox += len(target)
                ops.append(("add", target, incoming))
                target = incoming
            requests += self._requests_of(self._comm.Recv_init, target, piece, RECEIVED)
        for piece in each.sends:
            requests += self._requests_of(self._comm.Send_init, at(piece.lo, piece.hi), piece, SENT)
        ops += [(x.do, at(x.at, x.at + x.n), at(x.source, x.source + x.n)) for x in each.then]
        return requests, [op for op in ops if len(op[1])]

    def _view(self, lo: int, hi: int) -> Vector:
        """Return a view of the elements [lo, hi) of the home or of the rest."""
        n = len(self._home)
        return self._home[lo:hi] if hi <= n else self._rest[lo - n : hi - n]

    def _requests_of(self, make: Any, view: Vector, piece: Piece, kind: int) -> list[MPI.Prequest]:
        parts = [view[a : a + self._most] for a in range(0, len(view), self._most)]
        peer, tag = piece.peer, self._tag
        return [self._watch(make(x, peer, tag), kind, peer, x.nbytes) for x in parts]


def divide_in_place(x: NDArray[Any], divisor: int) -> None:
    """Divide x, (...) of a floating type or (n,) encoded, in place.

    A power of two multiplies by its inverse: the same bits in a third to a half less time.
    """
    if x.dtype == ENCODED:
        quotient = decoded(x)
        divide_in_place(quotient, divisor)
        encode(quotient, x)
    elif divisor & (divisor - 1):
        np.divide(x, divisor, out=x)
    elif divisor != 1:
        np.multiply(x, 1 / divisor, out=x)


class Scheduled:
    """An all-reduce by messages: the plan of collectives.protocol for a schedule.

    A subclass returns in `schedule` the schedule of a rank for (d,) elements of `itemsize` bytes.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        d: int,
        dtype: np.dtype[Any],
        placement: Placement,
        meter: Meter,
    ) -> None:
        plan = self.schedule(comm.rank, placement, d, dtype.itemsize)
        home = np.zeros(plan.home, dtype)
        self.spans: Sequence[Span] = plan.spans or [placement.span(comm.rank)]
        self.parts: Sequence[Vector] = [home[i * d : (i + 1) * d] for i in range(len(self.spans))]
        self._meter = meter
        self._carrier = Carrier(comm, plan, home, meter)

    @staticmethod
    @abstractmethod
    def schedule(rank: int, placement: Placement, d: int, itemsize: int) -> Schedule:
        """Return the schedule of a rank: a pure function."""

    def __call__(self, divisor: int = 1) -> None:
        """Replace parts[0] by the sum over the ranks, divided by the divisor; collective."""
        self._carrier(divisor)

    def start(self, divisor: int = 1) -> None:
        """Start a call; leave the parts alone until `finish`; collective."""
        self._meter.lap(OTHER)
        self._carrier.start(divisor)

    def test(self) -> bool:
        """Process the messages that have arrived without blocking; return True at the end."""
        self._meter.lap(OTHER)
        return self._carrier.test()

    def finish(self) -> None:
        """Complete a call that was started."""
        self._meter.lap(OTHER)
        self._carrier.finish()

    def close(self) -> None:
        """Release the requests; collective."""
        self._carrier.close()
