"""Protocol of a controller: it decides the options of the algorithm while training.

A run is a sequence of segments: the controller decides the frozen algorithm of the next segment,
the workers train, and the controller observes the segment. Decisions are pure functions of values
that all ranks know, and draw by (seed, round), so that no message is needed to agree on them.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from math import isfinite, log, nan
from typing import Any, ClassVar, Protocol

import numpy as np

from algorithms.protocol import Algorithm

FOREVER = 2**62
"""Length of a segment that no later decision ends, steps."""
STREAM = 0xC0
"""Stream of random numbers of decisions, apart from others of the same seed."""


@dataclass(frozen=True)
class Setting:
    """Constants of a run, equal on all ranks."""

    algorithm: Algorithm
    """Algorithm of the command line, whose options a controller varies."""
    workers: int
    """W, the number of workers on all ranks."""
    seed: int
    lr: float = nan
    """Learning rate of the base optimiser."""

    def rng(self, number: int) -> np.random.Generator:
        """Return the generator of round `number`, the same on every rank."""
        return np.random.default_rng((self.seed, STREAM, number))


@dataclass
class Observation:
    """Segment that has ended and the course of the run so far, equal on all ranks."""

    round: int = 0
    """Number of segments before."""
    step: int = 0
    """Steps before the next segment."""
    steps: int = 0
    """Steps of the segment."""
    seconds: float = 0.0
    """Duration of the segment by the clock of the run, on the slowest rank."""
    nbytes: float = 0.0
    """Bytes that all workers sent in the segment, copies within a rank included."""
    loss_first: float = nan
    """Minibatch loss in the first step of the segment, mean over all workers."""
    loss_last: float = nan
    """Minibatch loss in the last step of the segment, mean over all workers."""
    loss_mean: float = nan
    """Minibatch loss in the segment, mean over all workers and steps."""
    start_loss: float = nan
    """Minibatch loss in the first step of the run, mean over all workers."""
    consensus: float = nan
    """Consensus distance at the last evaluation."""

    def drop(self, before: float) -> float:
        """Return the drop of the log loss to the last step of the segment; NaN if undefined.

        before: loss in the last step of the segment before; NaN takes the first loss of this one.
        """
        start = before if isfinite(before) else self.loss_first
        return log(start / self.loss_last) if start > 0 and self.loss_last > 0 else nan


@dataclass(frozen=True)
class Decision:
    """Algorithm of the next segment."""

    algorithm: Algorithm
    steps: int = FOREVER
    """Length of the segment."""
    arm: int = -1
    """Index of the choice among `arms`; -1 without arms."""
    mean: tuple[float, ...] = ()
    """Posterior mean of the value of each arm before the decision; NaN where unknown."""
    deviation: tuple[float, ...] = ()
    """Posterior standard deviation of the value of each arm before the decision."""


class Controller(Protocol):
    """Base of all controllers: frozen dataclasses whose fields are their command-line options."""

    listens: ClassVar[bool] = True
    """Observations contain losses; without them nothing is gathered."""

    def check(self, setting: Setting) -> None:
        """Raise ValueError if the algorithm cannot be controlled, or refuses one of the arms."""
        return

    def arms(self, setting: Setting) -> list[str]:
        """Return the choices as texts; empty if they are not a list known in advance."""
        return []

    def memory(self, setting: Setting) -> Any:
        """Return the memory at the start: a plain dataclass of arrays and numbers.

        Checkpoints store it. It is equal on all ranks, and only `observe` changes it.
        """
        return ()

    @abstractmethod
    def decide(self, setting: Setting, last: Observation, memory: Any) -> Decision:
        """Return the algorithm of the next segment; a pure function of its arguments."""

    def observe(
        self, setting: Setting, segment: Observation, decision: Decision, memory: Any
    ) -> float:
        """Update the memory by the segment of a decision; return its reward, or NaN."""
        return nan
