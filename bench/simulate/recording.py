"""Record of a case: the events of all workers, from which its times follow on any network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from algorithms.collectives.recursive_doubling import (
    RecursiveDoubling,
    fold,
    group_of,
    groups,
    unfold,
)
from algorithms.wire.carrier import Scheduled
from algorithms.wire.placement import Placement
from algorithms.wire.schedule import Piece, Round, Schedule
from bench.common.spec import UserError
from bench.simulate.weighted import WeightedClock, weight

if TYPE_CHECKING:
    from algorithms.collectives.protocol import AllReduce
    from algorithms.exchange.clock import Times
    from algorithms.exchange.compute import Compute as ComputeTime
    from algorithms.exchange.shaper import Durations
    from algorithms.exchange.trouble import Trouble


@dataclass(frozen=True)
class Compute:
    """Part of a gradient of every worker."""

    durations: Times


@dataclass(frozen=True)
class Send:
    """Messages of nbytes from senders to receivers, (E,) int64 workers, of one exchange."""

    exchange: int
    senders: NDArray[np.int64]
    receivers: NDArray[np.int64]
    nbytes: int


@dataclass(frozen=True)
class Mean:
    """Start of all-reduces of d elements in groups of consecutive workers."""

    exchange: int
    algorithm: type[Scheduled]
    d: int
    itemsize: int
    group: int


@dataclass(frozen=True)
class Wait:
    """Wait of every worker for its part of an exchange."""

    exchange: int


@dataclass(frozen=True)
class End:
    """End of a step."""


MOST_MESSAGES = 2**20
"""Maximum number of messages of a case that are played, some ten minutes."""
Event: TypeAlias = Compute | Send | Mean | Wait | End


class RecordingClock(WeightedClock):
    """A weighted clock that records, in program order, the events which advance it."""

    def __init__(
        self,
        total: int,
        compute: ComputeTime,
        trouble: Trouble,
        parameters: int,
        durations: Durations,
    ) -> None:
        super().__init__(total, compute, trouble, parameters, durations)
        self.events: list[Event] = []
        self._exchanges = 0

    def reset(self) -> None:
        """Set all times to zero and drop the events until now."""
        super().reset()
        self.events.clear()

    def gradient(self, step: int, fraction: float = 1.0) -> None:
        """Advance every worker by its gradient; see ModelClock."""
        before = self.state.computed.copy()
        super().gradient(step, fraction)
        self.events.append(Compute(self.state.computed - before))

    def send(
        self, senders: NDArray[np.int64], receivers: NDArray[np.int64], nbytes: int
    ) -> Callable[[], None]:
        """Send a message along every link; see WeightedClock."""
        weight = self.bytes_of(nbytes)
        return self._exchange(
            lambda number: Send(number, senders, receivers, weight),
            super().send(senders, receivers, nbytes),
        )

    def all_reduce(
        self, algorithm: type[AllReduce], d: int, group: int, itemsize: int
    ) -> Callable[[], None]:
        """Start all-reduces in groups; see WeightedClock."""
        assert issubclass(algorithm, Scheduled)
        elements = weight(d, self._parameters)
        return self._exchange(
            lambda number: Mean(number, algorithm, elements, itemsize, group),
            super().all_reduce(algorithm, d, group, itemsize),
        )

    def end_step(self) -> None:
        """Record the end of a step."""
        self.events.append(End())

    def _exchange(
        self, event: Callable[[int], Event], due: Callable[[], None]
    ) -> Callable[[], None]:
        """Record the start of an exchange; return a call that records the wait and waits."""
        number = self._exchanges
        self._exchanges += 1
        self.events.append(event(number))

        def wait() -> None:
            self.events.append(Wait(number))
            due()

        return wait


def schedules(algorithm: type[Scheduled], p: int, d: int, itemsize: int) -> Iterator[Schedule]:
    """Yield the schedule of every rank of p, with one worker each, for d elements."""
    if algorithm is RecursiveDoubling:
        yield from _doublings(p, d)
        return
    placement = Placement.dealt(p, p)
    for rank in range(p):
        yield algorithm.schedule(rank, placement, d, itemsize)


def _doublings(p: int, d: int) -> Iterator[Schedule]:
    """Yield the messages of recursive doubling, whose own schedule takes p log2 p per rank."""
    pairs = groups(p)
    for rank in range(p):
        group = pairs[at := group_of(rank, p)]
        rounds = [fold(rank, group, 0, d)]
        if rank == group[0]:
            for stride in (2**j for j in range(len(pairs).bit_length() - 1)):
                peer = pairs[at ^ stride][0]
                rounds.append(Round((Piece(peer, 0, d),), (Piece(peer, 0, d, add=True),)))
        yield Schedule([*rounds, unfold(rank, group, 0, d)], home=d)


def check_size(algorithm: str, events: Sequence[Event], workers: int) -> None:
    """Check the number of messages of a case before it is played. Errors: UserError."""
    n = messages(events, workers, MOST_MESSAGES)
    if n > MOST_MESSAGES:
        raise UserError(
            f"--algorithm {algorithm}, {workers:,} workers: more than {MOST_MESSAGES:,} messages "
            "to play one by one: take fewer --steps or --workers, or --allreduce "
            "recursive_doubling"
        )


def messages(events: Sequence[Event], workers: int, most: int) -> int:
    """Return the number of messages to play; more than `most` as soon as it is exceeded.

    An all-reduce of all workers is played once for each length.
    """
    n, counts = 0, dict[tuple[type[Scheduled], int, int, int], int]()
    for event in events:
        if n > most:
            break
        if isinstance(event, Send):
            n += len(event.senders)
        elif isinstance(event, Mean):
            sizes = np.diff(np.arange(0, workers, event.group), append=workers)
            for size, times in zip(*np.unique(sizes, return_counts=True), strict=True):
                key = event.algorithm, int(size), event.d, event.itemsize
                if key not in counts:
                    counts[key] = _count(*key, most)
                elif size == workers:
                    continue
                n += counts[key] * int(times)
    return n


def _count(algorithm: type[Scheduled], p: int, d: int, itemsize: int, most: int) -> int:
    """Return the messages of an all-reduce; more than `most` as soon as they are exceeded."""
    n = 0
    for schedule in schedules(algorithm, p, d, itemsize):
        n += schedule.messages()
        if n > most:
            break
    return n
