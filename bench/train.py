"""Train a task with one algorithm on one partition: `mpirun -n P python -m bench.train`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from algorithms.exchange import MPIExchange
from algorithms.meter import OTHER
from bench.results import reader
from bench.results.recorder import Recorder
from bench.results.resultfile import add_table
from bench.results.runfile import RunFile
from bench.results.schema import COMPLETE, DIVERGED
from bench.runtime import launch, setup
from bench.runtime.binding import keep_freed_memory, use_threads
from bench.runtime.budget import StepBudget
from bench.runtime.config import parser, read
from bench.runtime.console import Reporter
from bench.runtime.evaluation import Evaluation, parameters_sha256
from bench.runtime.introduction import introduction
from bench.runtime.separation import separation
from bench.runtime.training_file import open_file
from bench.runtime.workers import TrainingWorkers

if TYPE_CHECKING:
    from mpi4py import MPI


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    return launch.main(argv, parser, train)


def train(
    comm: MPI.Intracomm, argv: Sequence[str], results: list[Path], *, quiet: bool = False
) -> None:
    """Prepare, train and close one run; the path of its result goes into `results`; collective.

    quiet: print nothing.
    """
    plan = setup.plan(comm, launch.together(comm, lambda: read(argv)))
    material = setup.material(comm, plan)
    ranks, flaws = use_threads(comm, plan.config.threads)
    keep_freed_memory()
    with ExitStack() as stack:
        exchange, workers = setup.workers(comm, plan, material)
        stack.enter_context(launch.held(exchange))
        evaluation = Evaluation(comm, material.problem, plan.workers, workers.x)
        stack.enter_context(launch.held(evaluation))
        measured = separation(comm, plan, material, exchange, workers, evaluation)
        file = reporter = None
        results.append(plan.path)
        if comm.rank == 0:
            file = open_file(plan, material, measured, exchange, ranks, argv, flaws)
            reporter = Reporter(plan.config.steps, plan.parts.task.metric.name, quiet=quiet)
            stack.enter_context(reporter)
            for line in introduction(plan, material, measured, exchange, comm.size, flaws):
                reporter.say(line)
        with np.errstate(all="ignore"):  # a run that overflows is told as diverged
            training = Training(comm, plan, exchange, workers, evaluation, file, reporter)
            with launch.held(training):
                training.run()


class Training:
    """One run: timed segments of steps; between them recording, evaluation, when to stop.

    file and reporter are None on all ranks but 0.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        plan: setup.Plan,
        exchange: MPIExchange,
        workers: TrainingWorkers,
        evaluation: Evaluation,
        file: RunFile | None,
        reporter: Reporter | None,
    ) -> None:
        self._comm, self._config, self._algorithm = comm, plan.config, plan.parts.algorithm
        self._metric = plan.parts.task.metric
        self._exchange, self._workers, self._evaluation = exchange, workers, evaluation
        self._file, self._reporter = file, reporter
        self._state = self._algorithm.init(exchange, workers)
        asynchronous = getattr(self._algorithm, "asynchronous", False)
        self._budget = StepBudget(comm) if asynchronous else None
        self._recorder = Recorder(exchange.meter)
        self._step = 0
        self._elapsed_ns = 0

    def run(self) -> None:
        """Train until the last step, the target, or divergence; then close the file; collective."""
        config = self._config
        status, reached = COMPLETE, False
        self._evaluate()
        while self._step < config.steps and status == COMPLETE and not reached:
            cadences = (config.eval_every, config.flush_every)
            last = min(config.steps, *(self._step - self._step % n + n for n in cadences))
            if not self._segment(last):
                status = DIVERGED
            if last % config.eval_every == 0 and last < config.steps and status == COMPLETE:
                reached = self._evaluate()
            if self._file:
                self._file.flush()
        self._algorithm.finish(self._exchange, self._workers, self._state)
        if not reached:  # else what was in flight when the target was met comes too late
            reached = self._evaluate()
        self._close(status, reached)

    def _segment(self, last: int) -> bool:
        """Take the steps up to `last`, timed; return whether training is still finite."""
        algorithm, exchange, workers = self._algorithm, self._exchange, self._workers
        state, meter, recorder = self._state, exchange.meter, self._recorder
        recorder.begin()
        turns = self._turns(last - self._step)
        self._comm.Barrier()
        began = time.perf_counter_ns()
        for _ in turns:
            start = meter.start()
            algorithm.step(exchange, workers, state)
            meter.lap(OTHER)
            recorder.step(start, workers.losses)
        took = time.perf_counter_ns() - began
        block = recorder.gather(self._comm)
        finite = bool(np.isfinite(workers.losses).all() and np.isfinite(workers.x).all())
        segments = self._comm.allgather((took, finite))
        self._elapsed_ns += max(took for took, _ in segments)
        if self._file and block:
            self._file.append(block, self._step, self._config.warmup)
        if self._reporter:
            self._reporter.advanced(last)
        self._step = last
        return all(finite for _, finite in segments)

    def _turns(self, steps: int) -> Iterable[int]:
        """One item a step of this rank in a segment of `steps` steps; collective.

        Ranks of an asynchronous algorithm share the segment's steps: each takes the next one as
        soon as it can, until all workers together have taken as many as others would have.
        """
        if not self._budget:
            return range(steps)
        budget, here, total = self._budget, len(self._workers.ids), self._workers.total
        budget.reset()
        return iter(lambda: budget.take(here) < steps * total, False)

    def _evaluate(self) -> bool:
        """Score the models, record and show it; return whether the target is reached."""
        scores, self._losses, self._metrics = self._evaluation()
        if self._file and self._reporter:
            samples = self._step * self._config.batch * self._workers.total
            at = {"step": self._step, "samples": samples, "elapsed_ns": self._elapsed_ns}
            self._file.evaluate(at | scores)
            self._reporter.evaluated(self._step, self._elapsed_ns / 1e9, scores)
        target = self._config.target
        return target is not None and self._metric.reached(scores["metric"], target)

    def close(self) -> None:
        """Release the step budget; collective."""
        if self._budget:
            self._budget.close()

    def _close(self, status: str, reached: bool) -> None:
        digest = parameters_sha256(self._comm, self._workers.x)
        if not (self._file and self._reporter):
            return
        reason = f"NaN or infinity at or before step {self._step}" if status == DIVERGED else ""
        columns = {
            "loss": (("worker",), self._losses, "1", "held-out loss at the end"),
            "metric": (("worker",), self._metrics, "1", "metric at the end"),
        }
        worker = np.arange(self._workers.total)
        self._file.close(
            status,
            {"parameters_sha256": digest, "target_reached": reached, "reason": reason},
            lambda file: add_table(file, "workers", {"worker": worker}, columns),
        )
        self._reporter.summarise(reader.read(self._file.path))


if __name__ == "__main__":
    sys.exit(main())
