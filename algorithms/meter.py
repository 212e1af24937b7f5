"""The meter: where the time of a step went, and what left a worker for another."""

from time import perf_counter_ns

PHASES = ("data", "gradient", "update", "copy", "wait", "other")
"""What a step is made of: fetching the minibatch, loss and gradient, the base optimiser, packing
and summing rows inside a rank, blocked inside MPI, and the algorithm's own arithmetic."""

DATA, GRADIENT, UPDATE, COPY, WAIT, OTHER = range(len(PHASES))


class Meter:
    """Counters of one rank, advanced where things happen; never reset, so readers subtract.

    A lap closes a phase: `lap(WAIT)` books the time since the last lap as blocked in MPI. Laps
    leave no gap, so the phases of a step add up to the step.
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

    def lap(self, phase: int) -> None:
        """Book the time since the last lap or start to `phase`."""
        now = perf_counter_ns()
        self.ns[phase] += now - self._last
        self._last = now

    def sent(self, nbytes: int) -> None:
        """Count one message of `nbytes` bytes handed to MPI."""
        self.messages += 1
        self.bytes_sent += nbytes
