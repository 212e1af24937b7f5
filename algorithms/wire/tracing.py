"""The meter of a traced run: it also keeps every phase and every message, one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, TypeAlias

from algorithms.wire.meter import RECEIVED, SENT, Meter, Watch

if TYPE_CHECKING:
    from mpi4py import MPI

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
