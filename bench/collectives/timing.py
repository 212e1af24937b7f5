"""Timing of one message size: plans built, validated, called in rounds until medians converge.

A round calls each candidate once, in a new random order, so that drift affects all alike. Before
each call, untimed, every rank writes its vector and enters a barrier: values cannot overflow, and
every candidate starts with the caches that a gradient would leave. Rounds come in batches, and
ranks exchange their measurements between batches only.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bench.collectives.candidates import Candidate, Maker, build, close, validate
from bench.collectives.config import Config
from bench.results.calls import Calls
from bench.results.statistics import median_interval

if TYPE_CHECKING:
    from mpi4py import MPI

LEAST_SAMPLES = 6
"""Smallest sample for which a 95 % interval of the median exists."""
GROWTH = 0.5
"""Size of a batch relative to all rounds before it: few decisions, few surplus rounds."""
BATCH_S = 1.0
"""Maximum duration of a batch of several rounds, for the progress line."""

Progress: TypeAlias = Callable[[int, int, NDArray[np.float64]], None]
"""Called with bytes, rounds so far, and the relative half-width of each candidate's interval."""


@dataclass(frozen=True)
class StopRule:
    """End of a size: all medians within `ci` of themselves, or its time is over."""

    ci: float
    least: int
    """Smallest number of rounds."""
    time_s: float

    def width(self, slowest: NDArray[np.int64]) -> float:
        """Return the larger half of the median's interval over the median; slowest: (n,) ns."""
        median, low, high = median_interval(slowest)
        return max(high - median, median - low) / median if median > 0 else 0.0

    def converged(self, slowest: NDArray[np.int64]) -> bool:
        """Return True if the interval of the median is narrow enough; slowest: (n,) ns."""
        enough = len(slowest) >= max(self.least, LEAST_SAMPLES)
        return enough and self.width(slowest) <= self.ci

    def rounds(self, slowest: NDArray[np.int64], elapsed_s: float) -> int:
        """Return the rounds of the next batch, 0 to stop; slowest: (rounds, candidates) ns."""
        n = len(slowest)
        if elapsed_s >= self.time_s or all(self.converged(column) for column in slowest.T):
            return 0
        goal = max(self.least - n, int(GROWTH * n), 1)
        return self.fitting(goal, elapsed_s / n, self.time_s - elapsed_s)

    def fitting(self, goal: int, round_s: float, rest_s: float) -> int:
        """Return the part of a goal of rounds that fits a batch and the remaining time, >= 1."""
        return max(1, min(goal, int(min(rest_s, BATCH_S) / max(round_s, 1e-9))))


@dataclass(frozen=True)
class Samples:
    """All calls of one size; on rank 0."""

    start_ns: NDArray[np.int64]
    """(rounds, candidates, ranks) on each rank's own clock."""
    duration_ns: NDArray[np.int64]
    """(rounds, candidates, ranks)."""
    converged: list[bool]
    """True for each candidate if the interval of its median is narrow enough."""


@dataclass(frozen=True)
class Measurement:
    """Result of one size; on rank 0."""

    table: dict[str, NDArray[Any]]
    """(candidates,) each, by the names of bench.results.calls.ROWS."""
    start_ns: NDArray[np.int64]
    """(calls, ranks), grouped by candidate."""
    duration_ns: NDArray[np.int64]
    """(calls, ranks), grouped by candidate."""
    refusals: dict[str, str]
    """Reason by name of each candidate that does not support this size."""

    def calls(
        self, path: Path, attributes: Mapping[str, Any], offset_ns: NDArray[np.int64]
    ) -> Calls:
        """Return the measurement as the reader of its file would return it."""
        return Calls(path, attributes, self.table, self.start_ns, self.duration_ns, offset_ns)


def measure_size(
    comm: MPI.Intracomm,
    config: Config,
    makers: Mapping[str, Maker],
    index: int,
    progress: Progress | None,
) -> Measurement | None:
    """Measure the candidates at config.sizes[index]; the result on rank 0; collective.

    progress: None on ranks that print nothing.
    """
    nbytes = config.sizes[index]
    candidates, refusals = build(comm, makers, nbytes // config.itemsize, config.dtype)
    validate(comm, config.op, candidates, config.check)
    samples = measure(
        comm,
        candidates,
        StopRule(config.ci, config.iterations, config.time_s),
        config.warmup,
        np.random.default_rng((config.seed, index)),
        lambda rounds, widths: progress(nbytes, rounds, widths) if progress else None,
    )
    if config.check:
        validate(comm, config.op, candidates, check=True)
    close(candidates)
    if samples is None:
        return None
    n, ranks = len(samples.start_ns), comm.size
    start, duration = (
        spans.swapaxes(0, 1).reshape(-1, ranks) for spans in (samples.start_ns, samples.duration_ns)
    )
    return Measurement(_table(config, nbytes, candidates, samples, n), start, duration, refusals)


def _table(
    config: Config, nbytes: int, candidates: Sequence[Candidate], samples: Samples, n: int
) -> dict[str, NDArray[Any]]:
    same = {
        "op": config.op,
        "dtype": config.dtype,
        "count": nbytes // config.itemsize,
        "bytes": nbytes,
        "warmup": config.warmup,
        "n": n,
    }
    table = {name: np.array([value] * len(candidates)) for name, value in same.items()}
    table["algorithm"] = np.array([candidate.name for candidate in candidates])
    for name in ("chosen", "wrong", "messages", "bytes_sent"):
        table[name] = np.array([getattr(candidate, name) for candidate in candidates])
    table["converged"] = np.array(samples.converged, np.int8)
    table["first"] = np.arange(len(candidates)) * n
    return table


def measure(
    comm: MPI.Intracomm,
    candidates: Sequence[Candidate],
    rule: StopRule,
    warmup: int,
    rng: np.random.Generator,
    progress: Callable[[int, NDArray[np.float64]], None],
) -> Samples | None:
    """Time the candidates until the rule ends it; the samples on rank 0; collective.

    rng: in the same state on every rank. progress: called on rank 0 between batches with the
    rounds so far and the relative half-width of each candidate's interval.
    """
    start_ns = perf_counter_ns()
    _batch(comm, candidates, warmup, rng)
    round_s = (perf_counter_ns() - start_ns) / max(warmup, 1) / 1e9 if warmup else rule.time_s
    rounds = comm.bcast(rule.fitting(rule.least, round_s, rule.time_s))
    batches, slowest = [], np.empty((0, len(candidates)), np.int64)
    start_ns = perf_counter_ns()
    while rounds:
        batch = _gather(comm, _batch(comm, candidates, rounds, rng))
        if batch is not None:
            batches.append(batch)
            slowest = np.concatenate([slowest, batch[1].max(2)])
            rounds = rule.rounds(slowest, (perf_counter_ns() - start_ns) / 1e9)
            progress(len(slowest), np.array([rule.width(column) for column in slowest.T]))
        rounds = comm.bcast(rounds)
    if comm.rank > 0:
        return None
    start, duration = np.concatenate(batches, axis=1)
    return Samples(start, duration, [rule.converged(column) for column in slowest.T])


def _batch(
    comm: MPI.Intracomm, candidates: Sequence[Candidate], rounds: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return start and duration of this rank's calls, (2, rounds, candidates) ns; collective."""
    spans = np.empty((2, rounds, len(candidates)), np.int64)
    starts, durations = spans
    orders = [rng.permutation(len(candidates)).tolist() for _ in range(rounds)]
    turns = [(candidate.vector, candidate.call) for candidate in candidates]
    value, barrier, clock = comm.rank % 256 + 1, comm.Barrier, perf_counter_ns
    gc.disable()  # no collection inside a call
    try:
        for k, order in enumerate(orders):
            for i in order:
                vector, call = turns[i]
                vector.fill(value)
                barrier()
                start = clock()
                call()
                end = clock()
                starts[k, i] = start
                durations[k, i] = end - start
    finally:
        gc.enable()
    return spans


def _gather(comm: MPI.Intracomm, spans: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Return the spans of all ranks, (2, rounds, candidates, ranks), on rank 0; collective."""
    gathered = np.empty((comm.size, *spans.shape), np.int64) if comm.rank == 0 else None
    comm.Gather(spans, gathered)
    return None if gathered is None else np.moveaxis(gathered, 0, -1)
