"""Paired timings of two training loops: our steps beside those of a yardstick, in alternation."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from subprocess import DEVNULL, Popen
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from algorithms.wire.meter import OTHER
from bench.common.summary import summarise_row
from bench.results.recorder import Recorder
from bench.results.statistics import Interval, median_interval
from bench.runtime import setup, start
from bench.runtime.experiment import Experiment
from bench.runtime.options import TrainOptions

if TYPE_CHECKING:
    import torch
    from mpi4py import MPI

LR, MOMENTUM = 0.001, 0.9
"""Options of SGD on both sides. At this rate hidden units stay active for thousands of steps: the
velocity of a dead unit decays to subnormal numbers, whose arithmetic is slow."""
UNITS = (" ms", " ms", "")
"""Units of the three intervals of a row."""
OPTIMIZER = f"sgd:lr={LR},momentum={MOMENTUM}"


def timed_experiment(ranks: int, workers: int, batch: int, **options: Any) -> Experiment:
    """Return the experiment of our side; further options are those of bench.train.

    Errors: UserError for an unknown name.
    """
    table = {"optimizer": OPTIMIZER, "workers": workers, "batch": batch, **options}
    return Experiment.resolve(TrainOptions(**table), ranks)


class OurLoop:
    """Training steps of this rank's workers, taken and recorded as bench.train does.

    Construction, `run` and `close` are collective.
    """

    def __init__(self, comm: MPI.Intracomm, experiment: Experiment, data: setup.Material) -> None:
        self._exchange, self.workers = start.workers(comm, experiment, data)
        self._algorithm = experiment.algorithm
        self._state = self._algorithm.init(self._exchange, self.workers)
        self._recorder = Recorder(self._exchange.meter)

    def run(self, steps: int) -> None:
        """Take this number of steps."""
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


class PlainLoop:
    """Plain torch training loop: one model, torch.optim.SGD, minibatches by torch.randint."""

    def __init__(
        self,
        module: torch.nn.Module,
        inputs: torch.Tensor,
        targets: torch.Tensor,
        *,
        batch: int,
        lr: float,
        momentum: float,
    ) -> None:
        import torch

        self.module = module
        self._inputs, self._targets = inputs, targets
        self._optimizer = torch.optim.SGD(module.parameters(), lr=lr, momentum=momentum)
        self._draw: Callable[[], torch.Tensor]
        self._draw = partial(torch.randint, len(targets), (batch,))
        self._loss: Callable[..., torch.Tensor] = torch.nn.functional.cross_entropy

    def run(self, steps: int) -> None:
        """Take this number of steps on random minibatches."""
        for _ in range(steps):
            self.learn(self._draw())

    def learn(self, indices: torch.Tensor) -> None:
        """Take one step along the gradient of these samples, (b,) int64."""
        self._optimizer.zero_grad()
        loss = self._loss(self.module(self._inputs[indices]), self._targets[indices])
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()


BUSY = """
import os, sys
os.nice(19)
os.sched_setaffinity(0, range(os.cpu_count()))
while os.getppid() == int(sys.argv[1]):
    for _ in range(100_000):
        pass
"""
"""Program of a process that computes, on any core, until its parent has ended."""


@contextmanager
def busy_processes(number: int) -> Iterator[None]:
    """Let a number of processes of the lowest priority compute beside this one, as a context.

    They also end if this process is killed.
    """
    command = [sys.executable, "-I", "-S", "-c", BUSY, str(os.getpid())]
    with ExitStack() as stack:
        for _ in range(number):
            process = Popen(command, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield


def table_row(label: str, ours: str, yardstick: str, theirs: str, ratio: str, n: int) -> str:
    """Return one line of the table; n: samples a side."""
    return f"{label:<42} ours {ours:<27} {yardstick} {theirs:<30} ratio {ratio:<20} n={n}"


class Figures(NamedTuple):
    """Numbers of one row of the table: medians with 95 % intervals."""

    ours: Interval
    """Step of our side, ms."""
    theirs: Interval
    """Step of the yardstick, ms."""
    ratio: Interval
    """Ratio of a pair, ours over theirs."""
    n: int
    """Samples a side."""

    def row(self, label: str, yardstick: str) -> str:
        """Return one line of the table, and add the numbers to the summary of --json."""
        intervals = {"ours_ms": self.ours, "theirs_ms": self.theirs, "ratio": self.ratio}
        cells = {
            f"{name}{end}": value
            for name, interval in intervals.items()
            for end, value in zip(("", "_lo", "_hi"), interval, strict=True)
        }
        summarise_row(label=label, yardstick=yardstick, **cells, n=self.n)
        ours, theirs, ratio = (
            f"{median:.3f}{unit} [{low:.3f}, {high:.3f}]"
            for (median, low, high), unit in zip(intervals.values(), UNITS, strict=True)
        )
        return table_row(label, ours, yardstick, theirs, ratio, self.n)


def pairs(
    comm: MPI.Intracomm,
    ours: Callable[[], None],
    theirs: Callable[[], None],
    rounds: int,
    steps: int = 1,
) -> Figures:
    """Time both sides in alternation; return medians of ms a step and the median ratio of pairs.

    A sample is `steps` steps by the clock of the slowest rank, after a barrier. The sides
    alternate in going first. The ratio is ours over theirs. Collective; the same on every rank.
    """
    from mpi4py import MPI

    sides = (ours, theirs)
    spent = np.empty((rounds, 2))
    for run in sides:
        run()
    for k in range(rounds):
        for side in (k % 2, 1 - k % 2):
            comm.Barrier()
            start = time.perf_counter_ns()
            sides[side]()
            spent[k, side] = (time.perf_counter_ns() - start) / steps / 1e6
    comm.Allreduce(MPI.IN_PLACE, spent, MPI.MAX)
    ours_ms, theirs_ms = (median_interval(column) for column in spent.T)
    return Figures(ours_ms, theirs_ms, median_interval(spent[:, 0] / spent[:, 1]), rounds)
