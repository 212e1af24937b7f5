"""Injected faults: stragglers, lost messages and slow links, alike for real and virtual workers.

Faults are drawn by (seed, worker or link, step) alone, so that the same workers have the same
faults at the same step wherever they live.

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
"""Keep these draws apart from others of the same seed."""
UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "": 1.0}
RATES = {"GB/s": 1e9, "MB/s": 1e6, "kB/s": 1e3, "B/s": 1.0}


def seconds(text: str, what: str) -> float:
    """`2ms`, `50us`, `0.1s` as seconds. Errors: ValueError, where `what` names the option."""
    found = re.fullmatch(r"([0-9.]+(?:e-?[0-9]+)?)(s|ms|us)?", text)
    if not found:
        raise ValueError(f"{what} must be a time such as 2ms, 50us or 0.1s, got {text!r}")
    return float(found[1]) * UNITS[found[2] or ""]


def bytes_per_second(text: str, what: str) -> float:
    """`10MB/s`, `1.25GB/s` as bytes a second. Errors: ValueError."""
    found = re.fullmatch(r"([0-9.]+(?:e-?[0-9]+)?)(GB/s|MB/s|kB/s|B/s)", text)
    if not found or not float(found[1]) > 0:
        raise ValueError(f"{what} must be a rate such as 10MB/s or 1.25GB/s, got {text!r}")
    return float(found[1]) * RATES[found[2]]


def sleep_until(clock_ns: int) -> None:
    """Return when time.perf_counter_ns() has come to clock_ns; at once where it is past."""
    left = clock_ns - time.perf_counter_ns()
    if left > 0:
        time.sleep(left / 1e9)


@dataclass(frozen=True)
class Straggler:
    """A worker that is always slow, or any worker that is late now and then."""

    worker: int | None = field(default=None, metadata={"help": "the slow worker"})
    factor: float = field(default=5.0, metadata={"help": "times as long as its gradient takes"})
    probability: float = field(
        default=0.0, metadata={"help": "that a worker is late in a step, any worker"}
    )
    delay: str = field(default="50ms", metadata={"help": "how late it is then"})

    def __post_init__(self) -> None:
        if self.worker is None and not self.probability:
            raise ValueError(
                "give worker=3 (always slow) or probability=0.05 (any worker, now and then)"
            )
        if self.worker is not None and self.worker < 0:
            raise ValueError(f"worker must be >= 0, got {self.worker}")
        if not 1 <= self.factor < float("inf"):
            raise ValueError(f"factor must be >= 1 and finite, got {self.factor}")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability must be in [0, 1], got {self.probability}")
        seconds(self.delay, "delay")

    def late_s(self, ids: range, step: int, took_s: float, seed: int) -> float:
        """Seconds that the latest of the workers `ids` needs more for a gradient that took took_s.

        A gradient of V workers on one rank takes each of them the V-th part of it.
        """
        late = 0.0
        if self.worker is not None and self.worker in ids:
            late = (self.factor - 1) * took_s / len(ids)
        if self.probability:
            drawn = [
                np.random.default_rng((seed, STRAGGLER_STREAM, worker, step)).random()
                for worker in ids
            ]
            if min(drawn) < self.probability:
                late += seconds(self.delay, "delay")
        return late


@dataclass(frozen=True)
class Link:
    """What every message between two workers needs: a latency, and its bytes over a bandwidth."""

    latency: str = field(default="0s", metadata={"help": "from the last byte sent to its arrival"})
    bandwidth: str = field(
        default="", metadata={"help": "of each worker's own link out, e.g. 10MB/s; empty: no limit"}
    )

    def __post_init__(self) -> None:
        seconds(self.latency, "latency")
        if self.bandwidth:
            bytes_per_second(self.bandwidth, "bandwidth")

    @property
    def latency_ns(self) -> float:
        """Nanoseconds."""
        return 1e9 * seconds(self.latency, "latency")

    def sending_ns(self, nbytes: int) -> float:
        """How long nbytes keep the link out busy, ns."""
        return 1e9 * nbytes / bytes_per_second(self.bandwidth, "") if self.bandwidth else 0.0


@dataclass(frozen=True)
class Trouble:
    """All that goes wrong on purpose in a run."""

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
        """(E,) which messages of the turn-th exchange of a run are not lost.

        Drawn for each link by (seed, turn, sender, receiver).
        """
        words = sender.astype(np.uint64) << np.uint64(32) | receiver.astype(np.uint64)
        root = np.random.SeedSequence((self.seed, LOSS_STREAM, turn)).generate_state(1, np.uint64)
        words = (words ^ root) * np.uint64(0xFF51AFD7ED558CCD)
        words = (words ^ words >> np.uint64(33)) * np.uint64(0xC4CEB9FE1A85EC53)
        drawn = (words ^ words >> np.uint64(33)) / 2.0**64
        kept: NDArray[np.bool_] = drawn >= self.drop
        return kept


Trouble.NONE = Trouble()


NEVER = np.iinfo(np.int64).min


class Shaper:
    """The links out of the workers of one rank; see Exchange.trouble. Collective to build.

    Errors: ValueError where ranks are on several hosts.
    """

    def __init__(self, comm: MPI.Intracomm, link: Link, bounds: list[int]) -> None:
        hosts = set(comm.allgather(socket.gethostname()))
        if len(hosts) > 1:
            raise ValueError(
                f"--link needs one clock, but the ranks are on {len(hosts)} hosts: there the real "
                "network can be slowed instead, or all workers can be virtual ones of one host"
            )
        self._comm, self.link, self._bounds = comm.Dup(), link, bounds
        self._busy_until = np.zeros(bounds[comm.rank + 1] - bounds[comm.rank])
        self._free = 0.0
        """When the last collective leaves the links to the next."""
        self._durations: dict[tuple[int, int], tuple[float, float]] = {}
        """(elements, workers) -> ns of an all-reduce, and ns for which it keeps the links busy."""

    def send(
        self, senders: NDArray[np.int64], receivers: NDArray[np.int64], nbytes: int
    ) -> Callable[[], None]:
        """Send a message of nbytes along every link now; return a call that waits for arrivals.

        senders, receivers: (E,) int64, the workers at both ends of each link of all ranks.
        """
        rank, lo = self._comm.rank, self._bounds[self._comm.rank]
        giver = np.searchsorted(self._bounds, senders, side="right") - 1
        taker = np.searchsorted(self._bounds, receivers, side="right") - 1
        mine, to_me = giver == rank, taker == rank
        sender, sending = senders[mine] - lo, self.link.sending_ns(nbytes)
        count = np.bincount(sender, minlength=len(self._busy_until))
        before = np.empty_like(sender)
        before[np.argsort(sender, kind="stable")] = np.arange(len(sender)) - np.repeat(
            np.cumsum(count) - count, count
        )
        free = np.maximum(self._busy_until, time.perf_counter_ns())
        arrives = free[sender] + (before + 1) * sending + self.link.latency_ns
        self._busy_until = free + count * sending

        requests, stamps = [], [np.array([NEVER])]
        for q in np.unique(giver[to_me & ~mine]).tolist():
            stamps.append(np.empty(1, np.int64))
            requests.append(self._comm.Irecv(stamps[-1], source=q))
        for q in np.unique(taker[mine]).tolist():
            latest = np.array([arrives[taker[mine] == q].max()], np.int64)
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
        """Note that a collective starts here; return what waits for its end.

        It needs so long once all have started, and keeps the links busy for a part of it; until
        then the next one waits. They are waited for in the order in which they start.
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
        """Sleep as long as nbytes to or from another worker's memory take, there and back."""
        time.sleep((2 * self.link.latency_ns + self.link.sending_ns(nbytes)) / 1e9)

    def close(self) -> None:
        """Release the communicator; collective."""
        self._comm.Free()
