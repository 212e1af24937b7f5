"""Durations of all-reduces over links with a latency and a bandwidth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from algorithms.exchange.trouble import Link
from algorithms.wire.carrier import Scheduled
from algorithms.wire.schedule import duration_ns

if TYPE_CHECKING:
    from algorithms.collectives.protocol import AllReduce


class Durations:
    """Durations of the schedules of all-reduces with every worker on a rank of its own."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._durations: dict[tuple[type[AllReduce], int, int, int], tuple[float, float]] = {}

    def __call__(
        self, algorithm: type[AllReduce], d: int, workers: int, itemsize: int
    ) -> tuple[float, float]:
        """Return the duration of an all-reduce of d elements, and its occupation of the links, ns.

        The second is the duration without latency. Errors: ValueError for too many messages.
        """
        assert issubclass(algorithm, Scheduled)
        key = (algorithm, d, workers, itemsize)
        if key not in self._durations:
            each = list(range(workers + 1))
            schedules = [algorithm.schedule(r, each, d, itemsize) for r in range(workers)]
            needs, sends = (
                duration_ns(schedules, itemsize, latency, self._link.sending_ns)
                for latency in (self._link.latency_ns, 0.0)
            )
            self._durations[key] = needs, sends
        return self._durations[key]
