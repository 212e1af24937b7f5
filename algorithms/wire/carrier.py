"""Execution of schedules over MPI: persistent requests, adds while the next messages travel."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from algorithms.wire.bfloat16 import ENCODED, add, decoded, encode
from algorithms.wire.meter import COPY, OTHER, RECEIVED, SENT, WAIT, Meter
from algorithms.wire.placement import Placement
from algorithms.wire.schedule import Piece, Schedule, Work, added, start_times
from algorithms.wire.sums import Span
from algorithms.wire.waiting import wait

if TYPE_CHECKING:
    from mpi4py import MPI

Vector: TypeAlias = NDArray[Any]
Operation: TypeAlias = tuple[str, Vector, Vector]
"""Name, and the views of the result and of the operand."""

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
    """Executes the schedule of this rank on its home any number of times; collective to call.

    home: the arrays of the home in the order of their addresses, contiguous, read and written in
    place; the carrier allocates the elements behind the last one. Elements of ENCODED are bfloat16.
    tag: of the messages; by default one that no other carrier of the communicator uses.

    Rounds overlap as far as the window of the schedule and their memory allow. They start and end
    in order, so that messages between two ranks match.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        schedule: Schedule,
        home: Sequence[Vector],
        meter: Meter,
        tag: int | None = None,
    ) -> None:
        self._comm, self._tag, self._meter = comm, next_tag(comm) if tag is None else tag, meter
        self._watch = meter.watch(comm)
        self._rounds, last = schedule.rounds, home[-1]
        rest = schedule.home - sum(map(len, home))
        self._home = [*home, np.empty_like(last, shape=(rest, *last.shape[1:]))]
        self._times = start_times(self._rounds, schedule.window)
        self._slot = max((added(each) for each in self._rounds), default=0)
        self._slots = max((k - (t + 1) // 2 + 1 for k, t in enumerate(self._times)), default=1)
        self._inbox = np.empty(self._slots * self._slot, last.dtype)
        silent = [not (each.sends or each.receives) for each in self._rounds]
        self._lead = 0 if all(silent) else silent.index(False)
        """Number of rounds before the first one with messages."""
        self._copied = schedule.copied * last.itemsize * math.prod(last.shape[1:])
        self._requests: list[list[MPI.Prequest]] = []
        self._first: list[MPI.Prequest] = []
        """Requests to start at the call."""
        self._steps: list[
            tuple[list[MPI.Prequest], list[Operation], Work | None, list[MPI.Prequest]]
        ] = []
        """Requests to start before and after the operations of each round, and its work."""
        self._prepare()
        self._at, self._end, self._divisor = len(self._rounds), len(self._rounds), 1

    def bind(self, *home: Vector) -> None:
        """Take these arrays as the first ones of the home, between two calls."""
        for i, array in enumerate(home):
            if array is not self._home[i]:
                self._home[: len(home)] = home
                self.close()
                self._prepare()
                return

    def __call__(self, divisor: int = 1) -> None:
        """Execute all rounds; collective."""
        self.start(divisor)
        self.finish()

    def start(self, divisor: int = 1) -> None:
        """Start the first rounds; leave the home alone until `finish`; collective."""
        self._at, self._divisor = 0, divisor
        self._meter.messages += self.messages
        self._meter.bytes_sent += self._bytes
        self._meter.bytes_copied += self._copied
        for request in self._first:
            request.Start()
        while self._at < self._lead:
            self._complete()

    def test(self) -> bool:
        """Process the messages that have arrived without blocking; return True at the end."""
        while self._at < self._end:
            if not all(request.Test() for request in self._requests[self._at]):
                return False
            self._complete()
        return True

    def finish(self) -> None:
        """Complete a call that was started."""
        meter = self._meter
        while self._at < self._end:
            if requests := self._requests[self._at]:
                wait(requests)
                meter.lap(WAIT)
            self._complete()

    def _complete(self) -> None:
        """Add the messages of a round that have arrived and start the requests that wait for it."""
        before, operations, work, after = self._steps[self._at]
        for request in before:
            request.Start()
        for do, into, other in operations:
            if do == "add" and into.dtype == ENCODED:
                add(into, other)
            elif do == "add":
                np.add(into, other, out=into)
            elif do == "copy":
                into[:] = other
            else:
                divide_in_place(into, self._divisor)
        if work:
            work(self._home)
        for request in after:
            request.Start()
        self._at += 1
        self._meter.lap(COPY)

    def close(self) -> None:
        """Free the requests."""
        for request in (x for requests in self._requests for x in requests):
            request.Free()
        self._requests, self._first, self._steps = [], [], []

    def _prepare(self) -> None:
        """Create the requests of all rounds, receives first, and their operations on views."""
        at, self.messages, self._bytes = self._view, 0, 0
        starts: list[list[MPI.Prequest]] = [[] for _ in range(2 * len(self._rounds) + 1)]
        operations = []
        for k, each in enumerate(self._rounds):
            inbox, requests, ops = self._slot * (k % self._slots), list[Any](), []
            for piece in each.receives:
                target = at(piece.lo, piece.hi)
                if piece.add:
                    incoming = self._inbox[inbox : inbox + len(target)]
                    inbox += len(target)
                    ops.append(("add", target, incoming))
                    target = incoming
                requests += self._requests_of(self._comm.Recv_init, target, piece, RECEIVED)
            for piece in each.sends:
                message = at(piece.lo, piece.hi)
                sends = self._requests_of(self._comm.Send_init, message, piece, SENT)
                self.messages += len(sends)
                self._bytes += message.nbytes
                requests += sends
            ops += [(x.do, at(x.at, x.at + x.n), at(x.source, x.source + x.n)) for x in each.then]
            self._requests.append(requests)
            operations.append([op for op in ops if len(op[1])])
            starts[self._times[k] + 1] += requests
        works = [each.work for each in self._rounds]
        self._first = starts[0]
        self._steps = list(zip(starts[1::2], operations, works, starts[2::2], strict=True))

    def _view(self, lo: int, hi: int) -> Vector:
        """Return a view of the elements [lo, hi), which lie in one array of the home."""
        for array in self._home:
            if hi <= len(array):
                break
            lo, hi = lo - len(array), hi - len(array)
        return array[lo:hi]

    def _requests_of(self, make: Any, view: Vector, piece: Piece, kind: int) -> list[MPI.Prequest]:
        most = max(1, MOST_BYTES * len(view) // max(1, view.nbytes))
        parts = [view[a : a + most] for a in range(0, len(view), most)]
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


class Scheduled(Carrier):
    """An all-reduce by messages: the plan of collectives.protocol for a schedule.

    A subclass returns in `schedule` the schedule of a rank for (d,) elements of `itemsize` bytes.
    A call replaces parts[0] by the sum over the ranks, divided by the divisor.
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
        super().__init__(comm, plan, [home], meter)

    @staticmethod
    @abstractmethod
    def schedule(rank: int, placement: Placement, d: int, itemsize: int) -> Schedule:
        """Return the schedule of a rank: a pure function."""


class Transfer(Protocol):
    """Messages that a handle completes: a carrier, or a mean by an all-reduce."""

    def test(self) -> object:
        """Process the messages that have arrived without blocking."""

    @property
    def finish(self) -> Callable[..., None]:
        """Function that waits for the messages and completes the result; a mean takes `out`."""


class Handle:
    """Handle of rows in flight: of a round, or of a mean.

    transfer: None if there is nothing to wait for. due: waits for the end of delays. done: called
    at the end.
    """

    def __init__(
        self,
        transfer: Transfer | None,
        result: NDArray[Any],
        meter: Meter,
        due: Callable[[], None] | None,
        done: Callable[[], None] | None,
    ) -> None:
        self._transfer, self.result, self._meter = transfer, result, meter
        self._due, self._done = due, done

    def test(self) -> None:
        """Let the messages progress without blocking."""
        self._meter.lap(OTHER)
        if self._transfer:
            self._transfer.test()

    def finish(self, out: NDArray[Any] | None = None) -> None:
        """Wait for every message and fill the result; call once.

        out: (d,) or (V, d), becomes the mean in the place of the rows.
        """
        self._meter.lap(OTHER)
        if self._transfer is None:
            if out is not None:
                out[...] = self.result
        elif out is None:
            self._transfer.finish()
        else:
            self._transfer.finish(out)
        if self._due:
            self._due()
            self._meter.lap(WAIT)
        if self._done:
            self._done()
