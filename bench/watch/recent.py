"""What the last seconds of a run say: its pace, and which rank holds the others up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algorithms.wire.meter import WAIT
from bench.results.schema import NOT_TAKEN

RECENT_S = 10
"""Seconds that count as recent."""
LEAST = 20
"""So many steps are looked at, however long they took."""
SHOWN = 8
"""Of more ranks only the slowest are kept."""
STRAGGLES = 1.2
"""From so many times the median rank on, a rank holds the others up."""


@dataclass(frozen=True)
class Rank:
    """What a rank did in a recent step, mean."""

    number: int
    host: str
    busy_ms: float
    """Everything but blocked inside MPI."""
    wait_ms: float
    slowdown: float
    """busy_ms divided by that of the median rank, the lower of two; NaN where that is 0."""

    @property
    def straggles(self) -> bool:
        """Whether it holds the others up."""
        return self.slowdown >= STRAGGLES


@dataclass(frozen=True)
class Recent:
    """The last RECENT_S of a run, by the clocks of its ranks."""

    rate: float
    """Steps a second, evaluations included; NaN before the second step."""
    of: int
    """How many ranks took a step."""
    ranks: list[Rank]
    """All by number, or the SHOWN slowest of more, the slowest first."""

    @property
    def slowest(self) -> Rank | None:
        """The rank that was busiest; None where there is no other to compare with."""
        return max(self.ranks, key=lambda rank: rank.busy_ms) if self.of > 1 else None


def hosted(workers: int, ranks: int) -> NDArray[np.int64]:
    """(ranks,) how many workers each rank has."""
    return np.diff(np.arange(ranks + 1) * workers // ranks)


def steps_taken(taken: NDArray[np.bool_], weights: NDArray[np.int64]) -> float:
    """Steps of a worker, mean: where ranks take turns at a shared budget they differ.

    taken: (steps, ranks) who took which; weights: (ranks,) workers.
    """
    return float(taken.sum(0) @ weights) / max(int(weights.sum()), 1)


def recent(
    train: Mapping[str, NDArray[Any]],
    weights: NDArray[np.int64],
    numbers: Sequence[int],
    hosts: Sequence[str],
) -> Recent:
    """What the end of /train says.

    weights: (ranks,) workers; numbers: (ranks,) which ranks the columns are; hosts: of all ranks.
    """
    start, phase = _window(train["start_ns"], train["phase_ns"])
    taken = start != NOT_TAKEN
    counts = taken.sum(0)
    some = np.flatnonzero(counts)
    if not len(some):
        return Recent(math.nan, 0, [])
    spent = (phase * taken[:, :, None]).sum(0)[some] / counts[some, None] / 1e6
    wait = spent[:, WAIT]
    busy = spent.sum(1) - wait
    median = float(np.sort(busy)[(len(busy) - 1) // 2])
    order = np.argsort(-busy, kind="stable")[:SHOWN] if len(busy) > SHOWN else range(len(busy))
    ranks = [
        Rank(
            number := int(numbers[some[i]]),
            hosts[number] if number < len(hosts) else "",
            float(busy[i]),
            float(wait[i]),
            float(busy[i]) / median if median > 0 else math.nan,
        )
        for i in order
    ]
    span_s = _span_ns(start, phase.sum(2), taken)[some].max() / 1e9
    enough = len(start) > 1 and span_s > 0
    rate = steps_taken(taken, weights) / span_s if enough else math.nan
    return Recent(rate, len(some), ranks)


def _window(
    start: NDArray[np.int64], phase: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of the last RECENT_S by a clock of the last step's; LEAST rows or all there are."""
    if not start.size:
        return start, phase
    clock = start[:, int((start[-1] != NOT_TAKEN).argmax())]
    late = (clock != NOT_TAKEN) & (clock >= clock[-1] - RECENT_S * 10**9)
    first = max(min(int(late.argmax()), len(start) - LEAST), 0)
    return start[first:], phase[first:]


def _span_ns(
    start: NDArray[np.int64], took: NDArray[np.int64], taken: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """(ranks,) from the beginning of the first to the end of the last step, each on its clock."""
    first = np.where(taken, start, np.iinfo(np.int64).max).min(0)
    last = np.where(taken, start + took, NOT_TAKEN).max(0)
    return np.where(taken.any(0), last - first, 0)
