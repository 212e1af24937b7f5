"""Delays of messages: durations of all-reduces, the interface, and slow links on the wall clock.

Symbols of durations: p workers, N bytes of the vector, alpha latency, beta time of a byte. Every
worker sends one message at a time and receives one at a time. Star, ring, torus, binomial tree and
recursive doubling have a closed form or an array operation per round, for any number of workers;
the schedules of the others are played message by message (`wire.schedule.duration_ns`).

A slow link gives every message a delivery time, until which its receiver sleeps. Each worker, also
a virtual one, has one outgoing link: messages leave it one after the other, each after
nbytes / bandwidth, and arrive a latency after their last byte. Receivers take any number at once
(no incast). All waits sleep, so that a model of a slow network needs no core. All ranks must share
one clock, that is, one host.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from algorithms.collectives.binomial_tree import BinomialTree
from algorithms.collectives.recursive_doubling import RecursiveDoubling
from algorithms.collectives.ring import Ring
from algorithms.collectives.star import Star
from algorithms.collectives.torus import Torus, sides
from algorithms.exchange.trouble import Link
from algorithms.wire.carrier import Scheduled
from algorithms.wire.placement import Placement
from algorithms.wire.schedule import duration_ns
from algorithms.wire.waiting import until, wait

if TYPE_CHECKING:
    from mpi4py import MPI

    from algorithms.collectives.protocol import AllReduce

MOST_PLAYED = 1024
"""Maximum number of workers of a schedule that is played message by message."""


def star(p: int, d: int, alpha: float, beta: float) -> float:
    """Return 2 alpha + 2 (p - 1) N beta: worker 0 receives and sends one message at a time."""
    return 2 * alpha + 2 * (p - 1) * d * beta


def binomial_tree(p: int, d: int, alpha: float, beta: float) -> float:
    """Return 2 floor(log2 p) alpha + 2 ceil(log2 p) N beta."""
    return 2 * (p.bit_length() - 1) * alpha + 2 * (p - 1).bit_length() * d * beta


def ring(p: int, d: int, alpha: float, beta: float) -> float:
    """Return 2 (p - 1) (alpha + N beta / p), with chunks rounded up to elements."""
    return 2 * (p - 1) * (alpha + -(-d // p) * beta)


def torus(p: int, d: int, alpha: float, beta: float) -> float:
    """Return the duration of two turns along the rows, and two along the columns, of a grid."""
    a, b = sides(p)
    wide = -(-d // b)
    return 2 * (b - 1) * (alpha + wide * beta) + 2 * (a - 1) * (alpha + -(-wide // a) * beta)


def recursive_doubling(p: int, d: int, alpha: float, beta: float) -> float:
    """Return log2(p) (alpha + N beta), with up to two more rounds if p is no power of two."""
    m = p.bit_length() - 1
    folds = np.diff(np.arange(2**m + 1) * p >> m) == 2  # groups of two workers
    moment = np.where(folds, alpha + d * beta, 0.0)
    free, inbound = np.zeros(len(folds)), moment.copy()
    place = np.arange(len(folds))
    for stride in (2**j for j in range(m)):
        free = np.maximum(free, moment) + d * beta
        inbound = np.maximum(free[place ^ stride] + alpha, inbound + d * beta)
        moment = np.maximum(moment, inbound)
    ends = np.where(folds, np.maximum(free, moment) + d * beta + alpha, moment)
    return float(ends.max())


CLOSED: dict[type[Any], Callable[[int, int, float, float], float]] = {
    Star: star,
    BinomialTree: binomial_tree,
    Ring: ring,
    Torus: torus,
    RecursiveDoubling: recursive_doubling,
}
"""Durations by all-reduce: functions of p, d, alpha in ns and the time of an element in ns."""


class Durations:
    """Durations of all-reduces with every worker on a rank of its own."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._durations: dict[tuple[type[AllReduce], int, int, int], tuple[float, float]] = {}

    def __call__(
        self, algorithm: type[AllReduce], d: int, workers: int, itemsize: int
    ) -> tuple[float, float]:
        """Return the duration of an all-reduce of d elements, and its occupation of the links, ns.

        The second is the duration without latency. Errors: ValueError for too many messages.
        """
        key = (algorithm, d, workers, itemsize)
        if key not in self._durations:
            needs, sends = (
                self._duration_ns(algorithm, d, workers, itemsize, latency)
                for latency in (self._link.latency_ns, 0.0)
            )
            self._durations[key] = needs, sends
        return self._durations[key]

    def _duration_ns(
        self, algorithm: type[AllReduce], d: int, workers: int, itemsize: int, latency_ns: float
    ) -> float:
        if workers == 1:
            return 0.0
        if closed := CLOSED.get(algorithm):
            return closed(workers, d, latency_ns, self._link.sending_ns(itemsize))
        if workers > MOST_PLAYED:
            raise ValueError(
                f"the schedule of {workers:,} workers is too large to play, at most "
                f"{MOST_PLAYED:,}: take recursive_doubling, ring, torus, star or binomial_tree"
            )
        assert issubclass(algorithm, Scheduled)
        each = Placement.dealt(workers, workers)
        schedules = [algorithm.schedule(r, each, d, itemsize) for r in range(workers)]
        return duration_ns(schedules, itemsize, latency_ns, self._link.sending_ns)


class Delays(Protocol):
    """Observer of the exchanges that delays them: slow links, or the model clock."""

    schedules: bool
    """True if all-reduces need schedules, from which their durations follow."""

    def prepare(self, algorithm: type[AllReduce], d: int, workers: int, itemsize: int) -> None:
        """Compute the duration of an all-reduce of d elements. Errors: ValueError."""

    def send(
        self, senders: NDArray[np.int64], receivers: NDArray[np.int64], nbytes: int
    ) -> Callable[[], None]:
        """Send a message of nbytes along every link now; return a call that waits for arrivals.

        senders, receivers: (E,) int64, the workers at both ends of each link of all ranks.
        """

    def all_reduce(
        self, algorithm: type[AllReduce], d: int, group: int, itemsize: int
    ) -> Callable[[], None]:
        """Start all-reduces of d elements in groups; return a call that waits for their end.

        group: size of the groups of consecutive workers; the last one may be smaller.
        """

    def alone(self, nbytes: int) -> None:
        """Delay a request and its answer of nbytes from the memory of a worker."""

    def close(self) -> None:
        """Release what the delays need; collective."""


def sleep_until(clock_ns: int) -> None:
    """Sleep until time.perf_counter_ns() reaches clock_ns."""
    left = clock_ns - time.perf_counter_ns()
    if left > 0:
        time.sleep(left / 1e9)


NEVER = np.iinfo(np.int64).min


class Shaper(Delays):
    """The slow outgoing links of the workers of one rank. Collective to create.

    Errors: ValueError if ranks are on several hosts.
    """

    schedules = True

    def __init__(self, comm: MPI.Intracomm, link: Link, placement: Placement) -> None:
        hosts = set(comm.allgather(socket.gethostname()))
        if len(hosts) > 1:
            raise ValueError(
                f"--link needs one clock, but the ranks are on {len(hosts)} hosts: slow "
                "down their real network instead, or run all workers as virtual ones on one host"
            )
        self._comm, self.link, self._placement = comm.Dup(), link, placement
        self._busy_until = np.zeros(len(placement.positions(comm.rank)))
        self._free = 0.0
        """Clock, ns, at which the last collective releases the links."""
        self._durations = Durations(link)

    def prepare(self, algorithm: type[AllReduce], d: int, workers: int, itemsize: int) -> None:
        """Compute the duration of an all-reduce of d elements. Errors: ValueError."""
        self._durations(algorithm, d, workers, itemsize)

    def send(
        self, senders: NDArray[np.int64], receivers: NDArray[np.int64], nbytes: int
    ) -> Callable[[], None]:
        """Send a message of nbytes along every link now; return a call that waits for arrivals.

        senders, receivers: (E,) int64, the workers at both ends of each link of all ranks.
        """
        rank, placement = self._comm.rank, self._placement
        lo, _ = placement.span(rank)
        rank_of_sender = placement.ranks_of(senders)
        rank_of_receiver = placement.ranks_of(receivers)
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
            wait(requests)
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
            until(request.Test)
            begins = max(float(latest[0]), self._free)
            self._free = begins + sending_ns
            sleep_until(int(begins + needs_ns))

        return due

    def all_reduce(
        self, algorithm: type[AllReduce], d: int, group: int, itemsize: int
    ) -> Callable[[], None]:
        """Start an all-reduce of d elements between workers; return a call that waits for its end.

        Its time is that of its schedule with every worker on a rank of its own. group: size of the
        groups of consecutive workers.
        """
        return self.collective(*self._durations(algorithm, d, group, itemsize))

    def alone(self, nbytes: int) -> None:
        """Sleep for the time of a request and its answer of nbytes from the memory of a worker."""
        time.sleep((2 * self.link.latency_ns + self.link.sending_ns(nbytes)) / 1e9)

    def close(self) -> None:
        """Release the communicator; collective."""
        self._comm.Free()
