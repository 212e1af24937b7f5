"""Timed calls: all candidates in turn, round after round, until every median is known.

A round calls each candidate once, in an order drawn anew for every round, so that drift meets all
alike. Before each call, untimed, every rank writes its vector and meets the others at a barrier:
no value overflows, however many the calls, and every candidate finds the caches as a gradient
would leave them. Rounds come in batches; only between batches do ranks exchange what they measured.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.collectives.candidates import Candidate
from bench.results.statistics import median_interval

if TYPE_CHECKING:
    from mpi4py import MPI

LEAST_SAMPLES = 6
"""Below, no 95 % interval of a median exists."""
GROWTH = 0.5
"""A batch has this part of the rounds so far: deciding costs little, and few rounds are spare."""
BATCH_S = 1.0
"""A batch is no longer than this, or one round, so that a person sees progress."""


@dataclass(frozen=True)
class StopRule:
    """When a size is done: every median within ci of itself, or its time is over."""

    ci: float
    least: int
    time_s: float

    def width(self, slowest: NDArray[np.int64]) -> float:
        """The larger half of the median's interval over the median; slowest: (n,) ns."""
        median, low, high = median_interval(slowest)
        return max(high - median, median - low) / median if median > 0 else 0.0

    def known(self, slowest: NDArray[np.int64]) -> bool:
        """Whether the median of (n,) samples is known."""
        enough = len(slowest) >= max(self.least, LEAST_SAMPLES)
        return enough and self.width(slowest) <= self.ci

    def rounds(self, slowest: NDArray[np.int64], elapsed_s: float) -> int:
        """How many more rounds to take after some; 0: stop. slowest: (rounds, candidates) ns."""
        done = len(slowest)
        if elapsed_s >= self.time_s or all(self.known(column) for column in slowest.T):
            return 0
        wanted = max(self.least - done, int(GROWTH * done), 1)
        return self.fitting(wanted, elapsed_s / done, self.time_s - elapsed_s)

    def fitting(self, wanted: int, round_s: float, left_s: float) -> int:
        """As many of the wanted rounds as a batch and the time that is left can hold; 1 or more."""
        return max(1, min(wanted, int(min(left_s, BATCH_S) / max(round_s, 1e-9))))


@dataclass(frozen=True)
class Samples:
    """Every call of a size; on rank 0."""

    start_ns: NDArray[np.int64]
    """(rounds, candidates, ranks) on each rank's own clock."""
    duration_ns: NDArray[np.int64]
    """(rounds, candidates, ranks)."""
    known: list[bool]
    """Of each candidate, whether its median is."""


def measure(
    comm: MPI.Intracomm,
    candidates: Sequence[Candidate],
    rule: StopRule,
    warmup: int,
    rng: np.random.Generator,
    tell: Callable[[int, NDArray[np.float64]], None],
) -> Samples | None:
    """Time the candidates until the rule says stop; the samples on rank 0; collective.

    rng: in the same state on every rank. tell: called on rank 0 between batches with the rounds
    so far and the relative half-width of every candidate's interval.
    """
    began = perf_counter_ns()
    _batch(comm, candidates, warmup, rng)
    round_s = (perf_counter_ns() - began) / max(warmup, 1) / 1e9 if warmup else rule.time_s
    more = comm.bcast(rule.fitting(rule.least, round_s, rule.time_s))
    batches, slowest = [], np.empty((0, len(candidates)), np.int64)
    began = perf_counter_ns()
    while more:
        batch = _gather(comm, _batch(comm, candidates, more, rng))
        if batch is not None:
            batches.append(batch)
            slowest = np.concatenate([slowest, batch[1].max(2)])
            more = rule.rounds(slowest, (perf_counter_ns() - began) / 1e9)
            tell(len(slowest), np.array([rule.width(column) for column in slowest.T]))
        more = comm.bcast(more)
    if comm.rank > 0:
        return None
    start, duration = np.concatenate(batches, axis=1)
    return Samples(start, duration, [rule.known(column) for column in slowest.T])


def _batch(
    comm: MPI.Intracomm, candidates: Sequence[Candidate], rounds: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """(2, rounds, candidates) start and duration of every call of this rank; collective."""
    spans = np.empty((2, rounds, len(candidates)), np.int64)
    start, duration = spans
    orders = [rng.permutation(len(candidates)).tolist() for _ in range(rounds)]
    turns = [(candidate.vector, candidate.plan) for candidate in candidates]
    value, barrier, clock = comm.rank % 256 + 1, comm.Barrier, perf_counter_ns
    gc.disable()  # no collection inside a call
    try:
        for k, order in enumerate(orders):
            for i in order:
                vector, plan = turns[i]
                vector.fill(value)
                barrier()
                began = clock()
                plan()
                ended = clock()
                start[k, i] = began
                duration[k, i] = ended - began
    finally:
        gc.enable()
    return spans


def _gather(comm: MPI.Intracomm, spans: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """(2, rounds, candidates, ranks) of all ranks, on rank 0; collective."""
    of_all = np.empty((comm.size, *spans.shape), np.int64) if comm.rank == 0 else None
    comm.Gather(spans, of_all)
    return None if of_all is None else np.moveaxis(of_all, 0, -1)
