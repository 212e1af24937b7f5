"""Durations of all-reduces over links with a latency and a bandwidth.

Symbols: p workers, N bytes of the vector, alpha latency, beta time of a byte. Every worker sends
one message at a time and receives one at a time. Star, ring, torus, binomial tree and recursive
doubling have a closed form or an array operation per round, for any number of workers; the
schedules of the others are played message by message (`wire.schedule.duration_ns`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from algorithms.collectives.binomial_tree import BinomialTree
from algorithms.collectives.recursive_doubling import RecursiveDoubling
from algorithms.collectives.ring import Ring
from algorithms.collectives.star import Star
from algorithms.collectives.torus import Torus, sides
from algorithms.exchange.trouble import Link
from algorithms.wire.carrier import Scheduled
from algorithms.wire.placement import Placement
from algorithms.wire.schedule import duration_ns

if TYPE_CHECKING:
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
