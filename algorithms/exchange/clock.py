"""The model clock: the time of every worker on a network that this machine does not have.

Every rank holds the times of all W workers and advances them by itself, without messages: durations
of gradients are drawn by (seed, worker, step), and the messages of an exchange follow from its
links or its schedule. Nothing sleeps. Times are the same on any number of ranks, to the bit.

    gradient        a worker's time advances by --compute, its noise and the delay of --straggler
    gossip round    each worker has a network interface that sends one message at a time and, at
                    the same time, receives one at a time. A message of n bytes leaves when those
                    before it have left, occupies the sender for n / bandwidth, begins to arrive
                    a latency after it began to leave, and occupies the receiver as long. A worker
                    waits for all its messages. Of several, the first to arrive is received first.
    all-reduce      begins when all its workers have started it and their interfaces are free, and
                    lasts as long as its schedule between equally fast workers
    one-sided       a request and its answer: two latencies and n / bandwidth; the accesses of
                    asynchronous algorithms are in `algorithms.exchange.order`

Transfers proceed while workers compute. All other work of a step takes no time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from algorithms.exchange.compute import Compute, late_s
from algorithms.exchange.shaper import Delays, Durations
from algorithms.exchange.trouble import Link, Trouble
from algorithms.wire.meter import GRADIENT, OTHER, WAIT, Meter

if TYPE_CHECKING:
    from algorithms.collectives.protocol import AllReduce

Times = NDArray[np.float64]
"""(W,) float64, s: a time or a duration of each worker of all ranks."""
FORWARD = 1 / 3
"""Share of the forward pass in the time of a gradient: the backward pass takes twice as long."""

BLOCK = 2**14
"""Workers whose durations are drawn at once, so that they stay in the cache."""
STEPS_KEPT = 64
"""Maximum number of steps whose durations are kept for workers at different steps."""


@dataclass
class ClockState:
    """State of a model clock: equal on all ranks; a checkpoint stores it."""

    times: Times
    """Time of each worker."""
    computed: Times
    """Part of `times` for which each worker has computed."""
    waited: Times
    """Part of `times` for which each worker has waited for messages."""
    sending: Times
    """Times at which the interfaces have sent all messages."""
    receiving: Times
    """Times at which the interfaces have received all messages."""
    arrivals: list[Times]
    """Time until which each worker waits for each exchange in flight, in the order of the starts;
    0 for workers that wait for nothing."""
    compute_s: float
    """Mean duration of a gradient; NaN until it is measured."""


class ModelClock(Delays):
    """Times of the W workers of all ranks.

    compute: duration of gradients; its mean may be set later, in `state`. trouble: stragglers,
    links, and the seed of all draws.
    """

    def __init__(self, total: int, compute: Compute, trouble: Trouble = Trouble.NONE) -> None:
        self._compute, self._trouble = compute, trouble
        self._link = trouble.link or Link()
        self.schedules = trouble.link is not None
        self._durations = Durations(self._link)
        self._ids = np.arange(total, dtype=np.uint64)
        times, computed, waited, sending, receiving = np.zeros((5, total))
        self.state = ClockState(times, computed, waited, sending, receiving, [], compute.mean_s)
        self._drawn: tuple[int, Times] = -1, times
        self._done, self._waits = 0.0, True
        self._cache: dict[int, Times] = {}

    def now(self) -> Times:
        """Return the time of each worker, (W,) float64, s; the same on every rank."""
        return self.state.times.copy()

    @property
    def elapsed_s(self) -> float:
        """Time of the slowest worker, s."""
        return float(self.state.times.max())

    def elapsed_ns(self) -> int:
        """Return the time of the slowest worker, ns."""
        return round(1e9 * self.elapsed_s)

    def phases_ns(self) -> tuple[int, int]:
        """Return the times of computing and of waiting so far, mean over workers, ns."""
        return round(1e9 * self.state.computed.mean()), round(1e9 * self.state.waited.mean())

    def reset(self) -> None:
        """Set all times to zero, before the first step."""
        state = self.state
        for times in (state.times, state.computed, state.waited, state.sending, state.receiving):
            times[:] = 0
        state.arrivals.clear()

    def change(self, ids: NDArray[np.int64]) -> None:
        """Change the workers between two steps, nothing in flight; ids: (members,) ascending.

        Those that return begin at the time of the slowest. The means of computing and waiting go
        on from those before, so that the durations of steps do.
        """
        state, now, new = self.state, self.elapsed_s, ids.astype(np.uint64)
        _, before, after = np.intersect1d(self._ids, new, return_indices=True)

        def moved(times: Times, start: float) -> Times:
            result = np.full(len(new), start)
            result[after] = times[before]
            return result

        state.times, state.sending, state.receiving = (
            moved(x, now) for x in (state.times, state.sending, state.receiving)
        )
        means = state.computed.mean(), state.waited.mean()
        state.computed = moved(state.computed, means[0])
        state.waited = moved(state.waited, means[1])
        state.computed += means[0] - state.computed.mean()
        state.waited += means[1] - state.waited.mean()
        self._ids, self._drawn = new, (-1, state.times)
        self._cache.clear()

    def gradient(self, step: int, fraction: float = 1.0) -> None:
        """Advance every worker by its gradient number `step`.

        fraction: part of the gradient that is complete, which `ready` reports during the backward
        pass; the rest follows in further calls, the last one with 1.
        """
        if step != self._drawn[0]:
            self._drawn, self._done = (step, self.durations(step, self._ids)), 0.0
        part = (fraction - self._done) * self._drawn[1]
        self.state.times += part
        self.state.computed += part
        self._done = fraction

    def durations(self, step: int, workers: NDArray[np.uint64]) -> NDArray[np.float64]:
        """Return the durations of the gradients of some workers, (n,), s, stragglers included."""
        seed, straggler = self._trouble.seed, self._trouble.straggler
        durations = np.empty(len(workers))
        for block in (slice(a, a + BLOCK) for a in range(0, len(workers), BLOCK)):
            took = self._compute.factors(seed, step, workers[block])
            took *= self.state.compute_s
            if straggler:
                took += late_s(straggler, took, workers[block], step, seed)
            durations[block] = took
        return durations

    def duration(self, step: int, worker: int) -> float:
        """Return the duration of the gradient of one worker, s, stragglers included."""
        if step not in self._cache:
            if len(self._cache) >= STEPS_KEPT:
                del self._cache[min(self._cache)]
            self._cache[step] = self.durations(step, self._ids)
        return float(self._cache[step][worker])

    def prepare(self, algorithm: type[AllReduce], d: int, workers: int, itemsize: int) -> None:
        """Compute the duration of an all-reduce of d elements. Errors: ValueError."""
        if self.schedules:
            self._durations(algorithm, d, workers, itemsize)

    def send(
        self, senders: NDArray[np.int64], receivers: NDArray[np.int64], nbytes: int
    ) -> Callable[[], None]:
        """Send a message of nbytes along every link now; return a call that waits for arrivals.

        senders, receivers: (E,) int64, the workers at both ends of each link.
        """
        occupied, latency = self._link.sending_ns(nbytes) / 1e9, self._link.latency_ns / 1e9
        free = np.maximum(self.state.sending, self.state.times)
        count = np.bincount(senders, minlength=len(free))
        begins = free[senders] + latency
        if count.max(initial=0) > 1:
            begins += positions(senders) * occupied
        self.state.sending[:] = np.where(count, free + count * occupied, self.state.sending)
        self.state.receiving[:] = receive(receivers, begins, occupied, self.state.receiving)
        arrival = np.zeros_like(free)
        arrival[receivers] = self.state.receiving[receivers]
        return self._in_flight(arrival)

    def all_reduce(
        self, algorithm: type[AllReduce], d: int, group: int, itemsize: int
    ) -> Callable[[], None]:
        """Start all-reduces of d elements in groups; return a call that waits for their end.

        group: size of the groups of consecutive workers; the last one may be smaller.
        """
        total = len(self.state.times)
        firsts = np.arange(0, total, group)
        sizes = np.diff(firsts, append=total)
        busy = np.maximum(self.state.times, np.maximum(self.state.sending, self.state.receiving))
        begins = np.maximum.reduceat(busy, firsts)
        lasts, frees = begins.copy(), begins.copy()
        for size in np.unique(sizes).tolist():
            if size > 1 and self.schedules:
                needs, sends = self._durations(algorithm, d, size, itemsize)
                lasts[sizes == size] += needs / 1e9
                frees[sizes == size] += sends / 1e9
        for interface in (self.state.sending, self.state.receiving):
            np.maximum(interface, np.repeat(frees, sizes), out=interface)
        return self._in_flight(np.repeat(lasts, sizes))

    def _in_flight(self, arrival: Times) -> Callable[[], None]:
        """Add an exchange in flight; return a call that waits for it."""
        self.state.arrivals.append(arrival)

        def due() -> None:
            if self._waits:
                place = next(i for i, x in enumerate(self.state.arrivals) if x is arrival)
                self._arrive(place)

        return due

    def arrive(self) -> None:
        """Wait for the exchange that started first of those in flight."""
        self._arrive(0)

    def _arrive(self, place: int) -> None:
        late = np.maximum(0, self.state.arrivals.pop(place) - self.state.times)
        self.state.times += late
        self.state.waited += late

    @contextmanager
    def without_waits(self) -> Iterator[None]:
        """Complete exchanges in flight without waiting, for a checkpoint; `arrive` waits later."""
        self._waits = False
        try:
            yield
        finally:
            self._waits = True

    def alone(self, nbytes: int) -> None:
        """Refuse: one-sided access has times of its own under the model clock."""
        raise AssertionError("windows have no delays under the model clock")

    def access_s(self, nbytes: float) -> float:
        """Return the time of a request and its answer of nbytes from another worker, s."""
        return (2 * self._link.latency_ns + self._link.sending_ns(nbytes)) / 1e9

    def close(self) -> None:
        """Release nothing."""


class ModelMeter(Meter):
    """A Meter of the model clock: its times are means over all workers, equal on all ranks."""

    __slots__ = ("_clock",)

    def __init__(self, clock: ModelClock) -> None:
        super().__init__()
        self._clock = clock

    def start(self) -> int:
        """Return the mean time of the workers, ns."""
        self.lap(OTHER)
        return sum(self.ns)

    def lap(self, phase: int, arrived: Sequence[tuple[int, Any]] = ()) -> None:
        """Update the times of computing and waiting at the end of a step or an exchange."""
        if phase == OTHER:
            self.ns[GRADIENT], self.ns[WAIT] = self._clock.phases_ns()


def positions(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of earlier elements that are equal, of each element, (n,) int64."""
    order = np.argsort(keys, kind="stable")
    counts = np.bincount(keys)
    places = np.empty_like(order)
    places[order] = np.arange(len(keys)) - np.repeat(np.cumsum(counts) - counts, counts)
    return places


SMALL = 64
"""Maximum number of messages of a receiver that are received in array operations."""


def receive(
    receivers: NDArray[np.int64], begins: NDArray[np.float64], occupied: float, free: Times
) -> Times:
    """Return the times at which the receivers are free again, (W,) s.

    Each receives its messages one at a time, in the order of their arrival. receivers: (E,) int64,
    of each message; begins: (E,), s, the arrival of its first byte; occupied: duration of each, s;
    free: (W,), s, at which the receivers are free.
    """
    counts, result = np.bincount(receivers, minlength=len(free)), free.copy()
    if counts.max(initial=0) <= 1:
        result[receivers] = np.maximum(free[receivers], begins) + occupied
        return result
    begins = begins[np.lexsort((begins, receivers))]
    firsts = np.cumsum(counts) - counts
    for j in range(min(int(counts.max(initial=0)), SMALL)):
        into = np.flatnonzero(counts > j)
        result[into] = np.maximum(result[into], begins[firsts[into] + j]) + occupied
    for worker in np.flatnonzero(counts > SMALL).tolist():
        rest = begins[firsts[worker] + SMALL : firsts[worker] + counts[worker]]
        waits = np.maximum(rest - np.arange(len(rest)) * occupied, result[worker])
        result[worker] = waits.max() + len(rest) * occupied
    return result
