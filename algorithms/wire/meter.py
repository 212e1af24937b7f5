"""Meters of a step: the time of each phase, the messages and the bytes; optionally each event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from mpi4py import MPI

PHASES = ("data", "gradient", "update", "copy", "wait", "other")
"""What a step is made of: fetching the minibatch, loss and gradient, the base optimiser, packing
and summing rows inside a rank, blocked inside MPI, and the algorithm's own arithmetic."""

DATA, GRADIENT, UPDATE, COPY, WAIT, OTHER = range(len(PHASES))
SENT, RECEIVED = len(PHASES), len(PHASES) + 1
"""What TracingMeter keeps besides phases: a message that leaves, a message that is here."""

Watch: TypeAlias = Callable[[Any, int, int, int], Any]
"""(persistent request, SENT or RECEIVED, rank of its peer, bytes) -> what takes its place."""


class Meter:
    """Counters of one rank, advanced where things happen; never reset, so readers subtract.

    A lap closes a phase: `lap(WAIT)` books the time since the last lap as blocked in MPI. Laps
    leave no gap, so the phases of a step add up to the step. It is also told who is at the other
    end of a message, and which have arrived; only TracingMeter keeps that.
    """

    __slots__ = ("_last", "bytes_copied", "bytes_sent", "messages", "ns")

    def __init__(self) -> None:
        self.ns = [0] * len(PHASES)
        self.messages = 0
        self.bytes_sent = 0
        """Bytes handed to MPI for another rank."""
        self.bytes_copied = 0
        """Bytes that one worker read from another through memory, without MPI."""
        self._last = perf_counter_ns()

    def start(self) -> int:
        """Return the clock, ns, and begin a phase here, booking nothing for the time before."""
        self._last = perf_counter_ns()
        return self._last

    def lap(self, phase: int, arrived: Sequence[tuple[int, Any]] = ()) -> None:
        """Book the time since the last lap or start to `phase`.

        arrived: (rank, array) of the messages counted by `sent` that the phase has waited for.
        """
        now = perf_counter_ns()
        self.ns[phase] += now - self._last
        self._last = now

    def sent(self, nbytes: int, peer: int = -1, awaited: bool = True) -> None:
        """Count one message of `nbytes` bytes handed to MPI.

        peer: the rank at its other end, -1 where not known. awaited: that rank says by `lap` when
        it has arrived; what goes from one rank to another does so in the order in which it left.
        """
        self.messages += 1
        self.bytes_sent += nbytes

    def watch(self, comm: MPI.Intracomm) -> Watch:
        """What is laid around the requests of a plan over `comm` when they are made: nothing."""
        return _bare


def _bare(request: Any, kind: int, peer: int, nbytes: int) -> Any:
    return request


Event: TypeAlias = tuple[int, int, int, int, int, int, int]
"""Step, kind (a phase, SENT or RECEIVED), start and duration in ns on the rank's clock, bytes,
peer, number of the message: see bench.results.events."""
PLAN = 1 << 32
"""Numbers of messages are the plan's times this, and the message's among those of the plan."""


class TracingMeter(Meter):
    """Counts what a Meter counts, and while `tracing` keeps every phase and every message.

    Peers are told as ranks of comm. The two ends of a message get the same number, without a
    word between them: MPI keeps the order of what one rank sends to another in one plan, and both
    make their plans in one order. Numbers go on while nothing is kept, so that messages on their
    way at the beginning and at the end find each other, too.
    """

    __slots__ = ("_events", "_group", "_noted", "_numbers", "_plans", "_step", "tracing")

    def __init__(self, comm: MPI.Intracomm) -> None:
        super().__init__()
        self.tracing = False
        self._group = comm.Get_group()
        self._events: list[Event] = []
        self._step, self._noted = -1, 0
        self._plans: Counter[tuple[int, int]] = Counter()
        self._numbers: dict[tuple[int, int], Iterator[int]] = {}

    def start(self) -> int:
        """Return the clock, ns, and begin a step here."""
        self._step += self.tracing
        return super().start()

    def lap(self, phase: int, arrived: Sequence[tuple[int, Any]] = ()) -> None:
        """Book the time since the last lap or start to `phase`; keep it, and what has arrived."""
        began = self._last
        super().lap(phase)
        now = self._last
        for peer, message in arrived:
            self.note(RECEIVED, now, 0, message.nbytes, peer, self._number(RECEIVED, peer))
        self.note(phase, began, now - began)

    def sent(self, nbytes: int, peer: int = -1, awaited: bool = True) -> None:
        """Count one message; keep the time since the last lap or message, in which it left."""
        super().sent(nbytes)
        number = self._number(SENT, peer) if awaited and peer >= 0 else -1
        began, now = max(self._last, self._noted), perf_counter_ns()
        self.note(SENT, began, now - began, nbytes, peer, number)

    def watch(self, comm: MPI.Intracomm) -> Watch:
        """What keeps the messages of a plan over `comm` where its requests start and end."""
        numbers: dict[tuple[int, int], Iterator[int]] = {}
        group = comm.Get_group()
        ranks = group.Translate_ranks(None, self._group)
        group.Free()

        def watched(request: Any, kind: int, peer: int, nbytes: int) -> Any:
            way = kind, ranks[peer]
            if way not in numbers:
                self._plans[way] += 1
                numbers[way] = count(self._plans[way] * PLAN)
            return _Watched(request, self, way, nbytes, numbers[way])

        return watched

    def note(
        self,
        kind: int,
        start_ns: int,
        duration_ns: int,
        nbytes: int = 0,
        peer: int = -1,
        number: int = -1,
    ) -> None:
        """Keep an event, if events are kept now."""
        if kind == SENT:
            self._noted = start_ns + duration_ns
        if self.tracing:
            self._events.append((self._step, kind, start_ns, duration_ns, nbytes, peer, number))

    def take(self) -> list[Event]:
        """The events since the last call, in the order in which they ended; forgotten here.

        Steps are counted from 0 again after it.
        """
        events, self._events, self._step = self._events, [], -1
        return events

    def _number(self, kind: int, peer: int) -> int:
        return next(self._numbers.setdefault((kind, peer), count()))


class _Watched:
    """A persistent request that notes when its message leaves, or is known to be here."""

    __slots__ = ("_meter", "_nbytes", "_number", "_numbers", "_open", "_request", "_way")

    def __init__(
        self,
        request: MPI.Prequest,
        meter: TracingMeter,
        way: tuple[int, int],
        nbytes: int,
        numbers: Iterator[int],
    ) -> None:
        self._request, self._meter, self._way = request, meter, way
        self._nbytes, self._numbers = nbytes, numbers
        self._number, self._open = -1, False

    def Start(self) -> None:  # noqa: N802
        began = perf_counter_ns()
        self._request.Start()
        kind, peer = self._way
        self._number, self._open = next(self._numbers), kind == RECEIVED
        if kind == SENT:
            took = perf_counter_ns() - began
            self._meter.note(SENT, began, took, self._nbytes, peer, self._number)

    def Test(self) -> bool:  # noqa: N802
        done = self._request.Test()
        if done:
            self._arrived()
        return done

    def Wait(self) -> None:  # noqa: N802
        self._request.Wait()
        self._arrived()

    def Free(self) -> None:  # noqa: N802
        self._request.Free()

    def _arrived(self) -> None:
        """Note the message, once."""
        if self._open:
            self._open = False
            self._meter.note(
                RECEIVED, perf_counter_ns(), 0, self._nbytes, self._way[1], self._number
            )
