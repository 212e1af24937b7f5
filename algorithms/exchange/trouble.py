"""Injected faults: stragglers, lost messages and slow links, alike for real and virtual workers.

Faults are drawn by (seed, worker or link, step) alone, so that the same workers have the same
faults at the same step on any placement.

A slow link gives every message a delivery time, until which its receiver sleeps. Each worker, also
a virtual one, has one outgoing link: messages leave it one after the other, each after
nbytes / bandwidth, and arrive a latency after their last byte. Receivers take any number at once
(no incast). All waits sleep, so that a model of a slow network needs no core. All ranks must share
one clock, that is, one host.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from algorithms.wire.carrier import Scheduled
from algorithms.wire.schedule import duration_ns

if TYPE_CHECKING:
    from mpi4py import MPI

STRAGGLER_STREAM, LOSS_STREAM = 5, 6
"""Streams of these draws, apart from others of the same seed."""
NUMBER = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]{1,3})?"
LONGEST_S = 1e6
"""Longest delay, which sleep() takes."""
MOST_FACTOR = 1e9
UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "": 1.0}
RATES = {"GB/s": 1e9, "MB/s": 1e6, "kB/s": 1e3, "B/s": 1.0}


def seconds(text: str, what: str) -> float:
    """Return the seconds of `2ms`, `50us` or `0.1s`. Errors: ValueError with the option `what`."""
    parts = re.fullmatch(rf"({NUMBER})(s|ms|us)?", text)
    if not parts:
        raise ValueError(f"{what} must be a time such as 2ms, 50us or 0.1s, got {text!r}")
    value = float(parts[1]) * UNITS[parts[2] or ""]
    if value > LONGEST_S:
        raise ValueError(f"{what} must be at most {LONGEST_S:g} s, got {text!r}")
    return value


def bytes_per_second(text: str, what: str) -> float:
    """Return the bytes a second of `10MB/s` or `1.25GB/s`. Errors: ValueError with `what`."""
    parts = re.fullmatch(rf"({NUMBER})(GB/s|MB/s|kB/s|B/s)", text)
    if not parts or not float(parts[1]) > 0:
        raise ValueError(f"{what} must be a rate such as 10MB/s or 1.25GB/s, got {text!r}")
    rate = float(parts[1]) * RATES[parts[2]]
    if not 1 <= rate < float("inf"):
        raise ValueError(f"{what} must be finite and at least 1B/s, got {text!r}")
    return rate


def sleep_until(clock_ns: int) -> None:
    """Sleep until time.perf_counter_ns() reaches clock_ns."""
    left = clock_ns - time.perf_counter_ns()
    if left > 0:
        time.sleep(left / 1e9)


@dataclass(frozen=True)
class Straggler:
    """Stragglers: one worker that is always slow, or any worker at random steps."""

    worker: int | None = field(default=None, metadata={"help": "the slow worker"})
    factor: float = field(default=5.0, metadata={"help": "factor on the time of its gradient"})
    probability: float = field(
        default=0.0, metadata={"help": "probability that a worker is late in a step"}
    )
    delay: str = field(default="50ms", metadata={"help": "delay of a late worker"})

    def __post_init__(self) -> None:
        if self.worker is None and not self.probability:
            raise ValueError(
                "give worker=3 (always slow) or probability=0.05 (any worker, at random steps)"
            )
        if self.worker is not None and self.worker < 0:
            raise ValueError(f"worker must be >= 0, got {self.worker}")
        if not 1 <= self.factor < float("inf"):
            raise ValueError(f"factor must be >= 1 and finite, got {self.factor}")
        if self.factor > MOST_FACTOR:
            raise ValueError(f"factor must be at most {MOST_FACTOR:g}, got {self.factor}")
        if self.delay != type(self).delay and not self.probability:
            raise ValueError(
                f"delay={self.delay} is for random steps: give probability=1 as well, or factor=5 "
                "for a worker that is always slow"
            )
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability must be in [0, 1], got {self.probability}")
        seconds(self.delay, "delay")

    def late_s(self, ids: range, step: int, took_s: float, seed: int) -> float:
        """Return the delay, s, of the latest of some workers after a gradient of took_s seconds.

        Each of V workers on one rank takes a V-th part of the time.
        """
        late = 0.0
        if self.worker is not None and self.worker in ids:
            late = (self.factor - 1) * took_s / len(ids)
        if self.probability:
            draws = [
                np.random.default_rng((seed, STRAGGLER_STREAM, worker, step)).random()
                for worker in ids
            ]
            if min(draws) < self.probability:
                late += seconds(self.delay, "delay")
        return late


@dataclass(frozen=True)
class Link:
    """Slow links between workers: a latency and a bandwidth for every message."""

    latency: str = field(default="0s", metadata={"help": "from the last byte sent to its arrival"})
    bandwidth: str = field(
        default="",
        metadata={"help": "of a worker's outgoing link, e.g. 10MB/s; empty: no limit"},
    )

    def __post_init__(self) -> None:
        seconds(self.latency, "latency")
        if self.bandwidth:
            bytes_per_second(self.bandwidth, "bandwidth")

    @property
    def latency_ns(self) -> float:
        """Latency, ns."""
        return 1e9 * seconds(self.latency, "latency")

    def sending_ns(self, nbytes: int) -> float:
        """Return the time for which nbytes occupy the outgoing link, ns."""
        return 1e9 * nbytes / bytes_per_second(self.bandwidth, "") if self.bandwidth else 0.0


@dataclass(frozen=True)
class Trouble:
    """All injected faults of a run."""

    straggler: Straggler | None = None
    drop: float = 0.0
    """Probability that a message between two workers is lost."""
    link: Link | None = None
    seed: int = 0
    NONE: ClassVar[Trouble]

    def __post_init__(self) -> None:
        if not 0 <= self.drop < 1:
            raise ValueError(f"drop must be in [0, 1), got {self.drop}")

    def arrives(
        self, sender: NDArray[np.int64], receiver: NDArray[np.int64], turn: int
    ) -> NDArray[np.bool_]:
        """Return a (E,) bool mask of the messages of a round that are not lost.

        turn: number of the round in the run. Drawn for each link by (seed, turn, sender, receiver).
        """
        words = sender.astype(np.uint64) << np.uint64(32) | receiver.astype(np.uint64)
        root = np.random.SeedSequence((self.seed, LOSS_STREAM, turn)).generate_state(1, np.uint64)
        words = (words ^ root) * np.uint64(0xFF51AFD7ED558CCD)
        words = (words ^ words >> np.uint64(33)) * np.uint64(0xC4CEB9FE1A85EC53)
        draws = (words ^ words >> np.uint64(33)) / 2.0**64
        mask: NDArray[np.bool_] = draws >= self.drop
        return mask


Trouble.NONE = Trouble()


NEVER = np.iinfo(np.int64).min


class Shaper:
    """The slow outgoing links of the workers of one rank. Collective to create.

    Errors: ValueError if ranks are on several hosts.
    """

    def __init__(self, comm: MPI.Intracomm, link: Link, bounds: list[int]) -> None:
        hosts = set(comm.allgather(socket.gethostname()))
        if len(hosts) > 1:
            raise ValueError(
                f"--link needs one clock, but the ranks are on {len(hosts)} hosts: slow "
                "down their real network instead, or run all workers as virtual ones on one host"
            )
        self._comm, self.link, self._bounds = comm.Dup(), link, bounds
        self._busy_until = np.zeros(bounds[comm.rank + 1] - bounds[comm.rank])
        self._free = 0.0
        """Clock, ns, at which the last collective releases the links."""
        self._durations: dict[tuple[int, int], tuple[float, float]] = {}
        """(elements, workers) -> ns of an all-reduce, and ns for which it keeps the links busy."""

    def send(
        self, senders: NDArray[np.int64], receivers: NDArray[np.int64], nbytes: int
    ) -> Callable[[], None]:
        """Send a message of nbytes along every link now; return a call that waits for arrivals.

        senders, receivers: (E,) int64, the workers at both ends of each link of all ranks.
        """
        rank, lo = self._comm.rank, self._bounds[self._comm.rank]
        rank_of_sender = np.searchsorted(self._bounds, senders, side="right") - 1
        rank_of_receiver = np.searchsorted(self._bounds, receivers, side="right") - 1
        outgoing, incoming = rank_of_sender == rank, rank_of_receiver == rank
        sender, sending = senders[outgoing] - lo, self.link.sending_ns(nbytes)
        count = np.bincount(sender, minlength=len(self._busy_until))
        before = np.empty_like(sender)
        before[np.argsort(sender, kind="stable")] = np.arange(len(sender)) - np.repeat(
            np.cumsum(count) - count, count
        )
        free = np.maximum(self._busy_until, time.perf_counter_ns())
        arrives = free[sender] + (before + 1) * sending + self.link.latency_ns
        self._busy_until = free + count * sending

        requests, stamps = [], [np.array([NEVER])]
        for q in np.unique(rank_of_sender[incoming & ~outgoing]).tolist():
            stamps.append(np.empty(1, np.int64))
            requests.append(self._comm.Irecv(stamps[-1], source=q))
        for q in np.unique(rank_of_receiver[outgoing]).tolist():
            latest = np.array([arrives[rank_of_receiver[outgoing] == q].max()], np.int64)
            if q == rank:
                stamps.append(latest)
            else:
                requests.append(self._comm.Isend(latest, dest=q))

        def due() -> None:
            if requests:
                requests[0].Waitall(requests)
            sleep_until(max(int(stamp[0]) for stamp in stamps))

        return due

    def collective(self, needs_ns: float, sending_ns: float) -> Callable[[], None]:
        """Start a collective; return a call that waits for its end.

        needs_ns: its duration after all ranks have started. sending_ns: the time for which it
        occupies the links, until which the next one waits. Wait in the order of the starts.
        """
        from mpi4py import MPI

        latest = np.array([time.perf_counter_ns()], np.int64)
        request = self._comm.Iallreduce(MPI.IN_PLACE, latest, op=MPI.MAX)

        def due() -> None:
            request.Wait()
            begins = max(float(latest[0]), self._free)
            self._free = begins + sending_ns
            sleep_until(int(begins + needs_ns))

        return due

    def all_reduce(
        self, algorithm: type[Scheduled], d: int, workers: int, itemsize: int
    ) -> Callable[[], None]:
        """Start an all-reduce of d elements between workers; return a call that waits for its end.

        Its time is that of its schedule with every worker on a rank of its own.
        """
        if (d, workers) not in self._durations:
            each = list(range(workers + 1))
            schedules = [algorithm.schedule(r, each, d, itemsize) for r in range(workers)]
            needs, sends = (
                duration_ns(schedules, itemsize, latency, self.link.sending_ns)
                for latency in (self.link.latency_ns, 0.0)
            )
            self._durations[d, workers] = needs, sends
        return self.collective(*self._durations[d, workers])

    def alone(self, nbytes: int) -> None:
        """Sleep for the time of a request and its answer of nbytes from the memory of a worker."""
        time.sleep((2 * self.link.latency_ns + self.link.sending_ns(nbytes)) / 1e9)

    def close(self) -> None:
        """Release the communicator; collective."""
        self._comm.Free()
