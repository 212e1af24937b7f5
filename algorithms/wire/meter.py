"""The meter: where the time of a step went, and what left a worker for another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from mpi4py import MPI

PHASES = ("data", "gradient", "update", "copy", "wait", "other")
"""What a step is made of: fetching the minibatch, loss and gradient, the base optimiser, packing
and summing rows inside a rank, blocked inside MPI, and the algorithm's own arithmetic."""

DATA, GRADIENT, UPDATE, COPY, WAIT, OTHER = range(len(PHASES))
SENT, RECEIVED = len(PHASES), len(PHASES) + 1
"""What tracing.TracingMeter keeps besides phases: a message that leaves, a message that is here."""

Watch: TypeAlias = Callable[[Any, int, int, int], Any]
"""(persistent request, SENT or RECEIVED, rank of its peer, bytes) -> what takes its place."""


class Meter:
    """Counters of one rank, advanced where things happen; never reset, so readers subtract.

    A lap closes a phase: `lap(WAIT)` books the time since the last lap as blocked in MPI. Laps
    leave no gap, so the phases of a step add up to the step. It is also told who is at the other
    end of a message, and which have arrived; only tracing.TracingMeter keeps that.
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
