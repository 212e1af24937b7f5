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
"""Phases of a step: fetching the minibatch, loss and gradient, the base optimiser, packing and
summing rows inside a rank, blocking in MPI, and the arithmetic of the algorithm."""

DATA, GRADIENT, UPDATE, COPY, WAIT, OTHER = range(len(PHASES))
SENT, RECEIVED = len(PHASES), len(PHASES) + 1
"""Kinds of events of a TracingMeter besides phases: a message sent, a message received."""

PIPELINE_PHASES = (*PHASES, "forward", "backward", "bubble")
"""Phases of a step with pipelines: also the passes of stages, and waiting for their inputs."""
FORWARD, BACKWARD, BUBBLE = range(len(PHASES), len(PIPELINE_PHASES))
FORWARD_PASS, BACKWARD_PASS, WEIGHT_PASS, BUBBLE_SPAN = range(RECEIVED + 1, RECEIVED + 5)
"""Kinds of events of pipelines, whose phases cannot be kinds: those numbers are of messages."""

Watch: TypeAlias = Callable[[Any, int, int, int], Any]
"""Wrapper of a persistent request: (request, SENT or RECEIVED, rank of the peer, bytes)."""


class Meter:
    """Counters of one rank, never reset: readers subtract.

    A lap closes a phase: `lap(WAIT)` counts the time since the last lap as blocked in MPI. Laps
    leave no gap, so that the phases of a step add up to the step. The peers of messages and their
    arrivals are arguments for TracingMeter; the plain meter ignores them.

    phases: PHASES, or PIPELINE_PHASES for workers that are pipelines.
    """

    __slots__ = ("_last", "bytes_copied", "bytes_sent", "messages", "ns")

    def __init__(self, phases: Sequence[str] = PHASES) -> None:
        self.ns = [0] * len(phases)
        self.messages = 0
        self.bytes_sent = 0
        """Bytes sent to other ranks by MPI."""
        self.bytes_copied = 0
        """Bytes that workers read from others in memory, without MPI."""
        self._last = perf_counter_ns()

    def start(self) -> int:
        """Return the clock, ns, and start a phase; the time before it is not counted."""
        self._last = perf_counter_ns()
        return self._last

    def lap(self, phase: int, arrived: Sequence[tuple[int, Any]] = ()) -> None:
        """Count the time since the last lap or start as `phase`.

        arrived: (rank, array) of the messages whose arrival the phase has waited for.
        """
        now = perf_counter_ns()
        self.ns[phase] += now - self._last
        self._last = now

    def sent(self, nbytes: int, peer: int = -1, awaited: bool = True) -> None:
        """Count one message of `nbytes` bytes.

        peer: the receiving rank, -1 if unknown. awaited: the receiver passes the message to `lap`
        on arrival; messages from one rank to another arrive in the order in which they are sent.
        """
        self.messages += 1
        self.bytes_sent += nbytes

    def passed(self, kind: int, stage: int, microbatch: int) -> None:
        """Count the time since the last lap as a pass of a stage, one of the kinds of events."""
        self.lap(FORWARD if kind == FORWARD_PASS else BACKWARD)

    def handed(self, nbytes: int, peer: int, tag: int) -> None:
        """Count a message of a pipeline inside a pass. peer: rank of the run."""
        self.messages += 1
        self.bytes_sent += nbytes

    def awaited(self, nbytes: int, peer: int, tag: int) -> None:
        """Count the time since the last lap as waiting for a message of a pipeline."""
        self.lap(BUBBLE)

    def watch(self, comm: MPI.Intracomm) -> Watch:
        """Return a wrapper for requests of a plan; the plain meter wraps nothing."""
        return _bare


def _bare(request: Any, kind: int, peer: int, nbytes: int) -> Any:
    return request


Event: TypeAlias = tuple[int, int, int, int, int, int, int]
"""Step, kind (a phase, SENT, RECEIVED or a pass), start and duration in ns on the rank's clock,
bytes, peer, number of the message; see bench.results.events."""
PLAN = 1 << 32
"""Factor of a plan's number in the numbers of its messages."""


class TracingMeter(Meter):
    """A Meter that records every phase and every message while `tracing` is true.

    Peers are ranks of `peers`, and in the record ranks of comm. Both ends of a message compute the
    same number without communication: MPI keeps the order of the messages of a plan between two
    ranks, and all ranks create plans in the same order. Numbers advance also while nothing is
    recorded, so that messages in flight at the first and the last traced step match, too.
    """

    __slots__ = (
        *("_events", "_group", "_numbers", "_peers", "_plans", "_recorded_ns", "_step", "tracing"),
    )

    def __init__(
        self,
        comm: MPI.Intracomm,
        peers: MPI.Intracomm | None = None,
        phases: Sequence[str] = PHASES,
    ) -> None:
        super().__init__(phases)
        self.tracing = False
        self._group = comm.Get_group()
        group = (peers or comm).Get_group()
        self._peers = group.Translate_ranks(None, self._group)
        group.Free()
        self._events: list[Event] = []
        self._step, self._recorded_ns = -1, 0
        self._plans: Counter[tuple[int, int]] = Counter()
        self._numbers: dict[tuple[int, int, int], Iterator[int]] = {}

    def start(self) -> int:
        """Return the clock, ns, and start a step."""
        self._step += self.tracing
        return super().start()

    def lap(self, phase: int, arrived: Sequence[tuple[int, Any]] = ()) -> None:
        """Count the time since the last lap or start as `phase`; record it and the arrivals."""
        began = self._last
        super().lap(phase)
        now = self._last
        for rank, message in arrived:
            peer = self._peers[rank]
            self.note(RECEIVED, now, 0, message.nbytes, peer, self._number(RECEIVED, peer))
        self.note(phase, began, now - began)

    def sent(self, nbytes: int, peer: int = -1, awaited: bool = True) -> None:
        """Count one message; record the time since the last lap or message as its sending."""
        super().sent(nbytes)
        peer = self._peers[peer] if peer >= 0 else peer
        number = self._number(SENT, peer) if awaited and peer >= 0 else -1
        began, now = max(self._last, self._recorded_ns), perf_counter_ns()
        self.note(SENT, began, now - began, nbytes, peer, number)

    def passed(self, kind: int, stage: int, microbatch: int) -> None:
        """Count the time since the last lap as a pass of a stage, and record it."""
        began = self._last
        Meter.lap(self, FORWARD if kind == FORWARD_PASS else BACKWARD)
        self.note(kind, began, self._last - began, peer=stage, number=microbatch)

    def handed(self, nbytes: int, peer: int, tag: int) -> None:
        """Count a message of a pipeline inside a pass; record it."""
        super().handed(nbytes, peer, tag)
        self.note(SENT, perf_counter_ns(), 0, nbytes, peer, self._number(SENT, peer, tag))

    def awaited(self, nbytes: int, peer: int, tag: int) -> None:
        """Count the time since the last lap as waiting for a message, and record both."""
        began = self._last
        Meter.lap(self, BUBBLE)
        now = self._last
        self.note(RECEIVED, now, 0, nbytes, peer, self._number(RECEIVED, peer, tag))
        self.note(BUBBLE_SPAN, began, now - began)

    def watch(self, comm: MPI.Intracomm) -> Watch:
        """Return a wrapper that records the messages of a plan over `comm`."""
        numbers: dict[tuple[int, int], Iterator[int]] = {}
        group = comm.Get_group()
        ranks = group.Translate_ranks(None, self._group)
        group.Free()

        def wrap(request: Any, kind: int, peer: int, nbytes: int) -> Any:
            way = kind, ranks[peer]
            if way not in numbers:
                self._plans[way] += 1
                numbers[way] = count(self._plans[way] * PLAN)
            return _Watched(request, self, way, nbytes, numbers[way])

        return wrap

    def note(
        self,
        kind: int,
        start_ns: int,
        duration_ns: int,
        nbytes: int = 0,
        peer: int = -1,
        number: int = -1,
    ) -> None:
        """Record an event while `tracing` is true."""
        if kind == SENT:
            self._recorded_ns = start_ns + duration_ns
        if self.tracing:
            self._events.append((self._step, kind, start_ns, duration_ns, nbytes, peer, number))

    def take(self) -> list[Event]:
        """Return the events since the last call, in the order of their end, and clear them.

        Steps count from 0 again after it.
        """
        events, self._events, self._step = self._events, [], -1
        return events

    def _number(self, kind: int, peer: int, tag: int = 0) -> int:
        numbers = self._numbers.setdefault((kind, peer, tag), count(tag * PLAN))
        return next(numbers)


class _Watched:
    """A persistent request that records the sending or the arrival of its message."""

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

    def Free(self) -> None:  # noqa: N802
        self._request.Free()

    def _arrived(self) -> None:
        """Record the arrival, once."""
        if self._open:
            self._open = False
            self._meter.note(
                RECEIVED, perf_counter_ns(), 0, self._nbytes, self._way[1], self._number
            )
