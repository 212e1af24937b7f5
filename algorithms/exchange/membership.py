"""Membership: the workers that take part, and drawn deaths and returns of --churn.

An epoch is the time between two changes of the membership. In an epoch the algorithm runs over the
workers that are alive as if there were no others: they have the positions 0, 1, ... in order of
their ids. Workers stay on their rank, so a change moves no rows but those that newcomers take over.

Deaths and returns are a pure function of (seed, worker, life): the life of a worker is exponential
with mean --churn mtbf, and its absence lasts `rejoin`. Nothing depends on ranks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from algorithms.exchange.compute import uniforms
from algorithms.exchange.trouble import NUMBER, seconds
from algorithms.wire.placement import Placement

CHURN_STREAM = 10
"""Stream of these draws, apart from others of the same seed."""
MEAN, NEIGHBOUR = STARTS = ("mean", "neighbour")
LOST, DEALT = SHARDS = ("lost", "dealt")
BACK, GONE = 0, 1
"""Kinds of events; of events at the same time, returns are first."""


@dataclass(frozen=True)
class Churn:
    """Deaths and returns of workers on purpose, in steps or in seconds of the model clock."""

    mtbf: str = field(
        default="", metadata={"help": "mean life of a worker: 1000steps, or 30s of --clock model"}
    )
    rejoin: str = field(
        default="", metadata={"help": "time from death to return, 50steps or 2s; empty: never"}
    )
    start: str = field(
        default=MEAN,
        metadata={
            "help": "parameters with which a worker returns: those of the mean, or of a neighbour",
            "choices": STARTS,
        },
    )
    shards: str = field(
        default=LOST,
        metadata={
            "help": "data of a dead worker: lost until it returns, or dealt to the others",
            "choices": SHARDS,
        },
    )
    least: int = field(
        default=1, metadata={"help": "workers that stay alive: no death leaves fewer"}
    )

    def __post_init__(self) -> None:
        if not self.mtbf:
            raise ValueError("give the mean life of a worker, mtbf=1000steps")
        for name in ("mtbf", "rejoin"):
            text = getattr(self, name)
            if text and not duration(text, name)[0] > 0:
                raise ValueError(f"{name} must be > 0, got {text}")
        if self.rejoin and duration(self.rejoin, "")[1] != self.in_steps:
            raise ValueError(
                f"mtbf and rejoin must have the same unit, steps or s, got {self.mtbf} and "
                f"{self.rejoin}"
            )
        if self.in_steps and self.rejoin and self.absence % 1:
            raise ValueError(f"rejoin must be a whole number of steps, got {self.rejoin}")
        if self.least < 1:
            raise ValueError(f"least must be >= 1, got {self.least}")

    @property
    def in_steps(self) -> bool:
        """Report whether times are steps; otherwise they are seconds of the model clock."""
        return duration(self.mtbf, "mtbf")[1]

    @property
    def absence(self) -> float:
        """Time from death to return; infinite without one."""
        return duration(self.rejoin, "rejoin")[0] if self.rejoin else math.inf

    def life(self, seed: int, life: int, workers: NDArray[np.uint64]) -> NDArray[np.float64]:
        """Return the length of a life of some workers, (n,), in steps or s; life: from 0."""
        mean = duration(self.mtbf, "mtbf")[0]
        lives = -mean * np.log(uniforms(seed, CHURN_STREAM, life, workers))
        return np.maximum(1, np.ceil(lives)) if self.in_steps else lives


@dataclass(frozen=True)
class Leave:
    """Workers that leave with their rank, which dies."""

    in_steps: ClassVar[bool] = True
    start: ClassVar[str] = MEAN

    shards: str = field(
        default=LOST,
        metadata={
            "help": "data of a worker that left: lost, or dealt to the others",
            "choices": SHARDS,
        },
    )


def duration(text: str, what: str) -> tuple[float, bool]:
    """Return the value of `1000steps` or `30s`, and whether it is in steps. Errors: ValueError."""
    steps = re.fullmatch(rf"({NUMBER})steps?", text)
    if steps:
        return float(steps[1]), True
    if not re.fullmatch(rf"{NUMBER}(s|ms|us)", text):
        raise ValueError(
            f"{what} must be a number of steps such as 1000steps, or a time such as 30s under "
            f"--clock model, got {text!r}"
        )
    return seconds(text, what), False


class Turnover:
    """Deaths and returns of W workers up to a time that only grows."""

    def __init__(self, churn: Churn, total: int, seed: int) -> None:
        self._churn, self._seed = churn, seed
        self.alive: NDArray[np.bool_] = np.ones(total, bool)
        """Mask of the workers that are alive, (W,) bool."""
        self._lives = np.ones(total, np.int64)
        first = churn.life(seed, 0, np.arange(total, dtype=np.uint64))
        self._events = [(time, GONE, worker) for worker, time in enumerate(first.tolist())]
        heapify(self._events)

    @property
    def next(self) -> float:
        """Time of the next death or return, in steps or s; infinite without one."""
        return self._events[0][0] if self._events else math.inf

    def advance(self, now: float) -> None:
        """Let all deaths and returns up to a time happen."""
        while self.next <= now:
            time, kind, worker = heappop(self._events)
            spared = kind == GONE and self.alive.sum() <= self._churn.least
            self.alive[worker] = kind == BACK or spared
            if kind == GONE and not spared:
                if self._churn.absence < math.inf:
                    heappush(self._events, (time + self._churn.absence, BACK, worker))
                continue
            ids = np.array([worker], np.uint64)
            life = float(self._churn.life(self._seed, int(self._lives[worker]), ids)[0])
            self._lives[worker] += 1
            heappush(self._events, (time + life, GONE, worker))

    def changes(self, now: float, placement: Placement) -> list[Placement]:
        """Return the placements to which those of `placement` change up to a time.

        Returns precede deaths, so that each placement differs from the one before in one direction.
        """
        self.advance(now)
        before, result = placement.alive, []
        if (returned := self.alive & ~before).any():
            result.append(placement.including(returned.nonzero()[0].tolist()))
        if (lost := before & ~self.alive).any():
            stays = result[-1] if result else placement
            result.append(stays.without(lost.nonzero()[0].tolist()))
        return result


class Departures:
    """Departures of workers that do not return, at given times."""

    def __init__(self, steps: Mapping[int, float]) -> None:
        self._steps = dict(steps)
        """Step before which each of some workers leaves."""

    @property
    def next(self) -> float:
        """Step before which the next worker leaves; infinite without one."""
        return min(self._steps.values(), default=math.inf)

    def changes(self, now: float, placement: Placement) -> list[Placement]:
        """Return the placement to which `placement` changes up to a step, if it changes."""
        due = {worker for worker, step in self._steps.items() if step <= now}
        self._steps = {x: step for x, step in self._steps.items() if x not in due}
        lost = due.intersection(placement.members)
        return [placement.without(lost)] if lost else []
