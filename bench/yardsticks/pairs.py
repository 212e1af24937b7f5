"""Two sides in pairs: our steps, and medians of alternating samples with their ratio."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from algorithms.wire.meter import OTHER
from bench.results.recorder import Recorder
from bench.results.statistics import median_interval
from bench.runtime import setup
from bench.runtime.config import TrainConfig

if TYPE_CHECKING:
    from mpi4py import MPI

LR, MOMENTUM = 0.001, 0.9
"""A rate at which hidden units stay alive through thousands of steps: the velocity of a dead one
decays to subnormal numbers, whose arithmetic is slow, and they would be measured instead."""
OPTIMIZER = f"sgd:lr={LR},momentum={MOMENTUM}"


def planned(workers: int, batch: int, **options: Any) -> setup.Plan:
    """A run of so many workers that leaves no result, by options of TrainConfig.

    Errors: UserError for a name that does not exist.
    """
    config = TrainConfig(optimizer=OPTIMIZER, workers=workers, batch=batch, **options)
    return setup.Plan(config, config.parts(), workers, {}, "", Path())


class OurLoop:
    """Steps as bench.train takes and records them, of the workers of this rank.

    Collective to build, to run and to close.
    """

    def __init__(self, comm: MPI.Intracomm, plan: setup.Plan, data: setup.Material) -> None:
        self._exchange, self.workers = setup.workers(comm, plan, data)
        self._algorithm = plan.parts.algorithm
        self._state = self._algorithm.init(self._exchange, self.workers)
        self._recorder = Recorder(self._exchange.meter)

    def run(self, steps: int) -> None:
        """Take so many steps."""
        algorithm, exchange, workers = self._algorithm, self._exchange, self.workers
        state, meter, recorder = self._state, exchange.meter, self._recorder
        for _ in range(steps):
            start = meter.start()
            algorithm.step(exchange, workers, state)
            meter.lap(OTHER)
            recorder.step(start, workers.losses)

    def close(self) -> None:
        """Release the exchange; the parameters must not be used afterwards."""
        self._exchange.close()


class Figures(NamedTuple):
    """What a row says of two sides: medians with 95 % intervals, as text."""

    ours: str
    theirs: str
    ratio: str
    n: int
    """Samples a side."""

    def row(self, label: str, yardstick: str) -> str:
        """One line of a table."""
        return (
            f"{label:<42} ours {self.ours:<27} {yardstick} {self.theirs:<30} "
            f"ratio {self.ratio:<20} n={self.n}"
        )


def pairs(
    comm: MPI.Intracomm,
    ours: Callable[[], None],
    theirs: Callable[[], None],
    rounds: int,
    steps: int = 1,
) -> Figures:
    """Median ms of a step on either side and the median ratio of pairs, ours over theirs.

    A sample is `steps` steps by the clock of the slowest rank, after a barrier. The sides take
    turns, and turns at being first. Collective; the same on every rank.
    """
    from mpi4py import MPI

    sides = (ours, theirs)
    spent = np.empty((rounds, 2))
    for run in sides:
        run()
    for k in range(rounds):
        for side in (k % 2, 1 - k % 2):
            comm.Barrier()
            began = time.perf_counter_ns()
            sides[side]()
            spent[k, side] = (time.perf_counter_ns() - began) / steps / 1e6
    comm.Allreduce(MPI.IN_PLACE, spent, MPI.MAX)
    (a, a_lo, a_hi), (b, b_lo, b_hi) = (median_interval(column) for column in spent.T)
    ratio, low, high = median_interval(spent[:, 0] / spent[:, 1])
    return Figures(
        f"{a:.3f} ms [{a_lo:.3f}, {a_hi:.3f}]",
        f"{b:.3f} ms [{b_lo:.3f}, {b_hi:.3f}]",
        f"{ratio:.3f} [{low:.3f}, {high:.3f}]",
        rounds,
    )
