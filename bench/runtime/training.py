"""The training loop: timed segments of steps, and what happens between them."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from algorithms.exchange.mpi import MPIExchange
from algorithms.wire.meter import OTHER
from bench.results.resultfile import add_table
from bench.results.schema import COMPLETE, DIVERGED
from bench.runtime.checkpoint.keeping import Keeper
from bench.runtime.console import Reporter
from bench.runtime.evaluation import Evaluation, parameters_sha256
from bench.runtime.recording import Recording
from bench.runtime.setup import Plan
from bench.runtime.workers import TrainingWorkers
from bench.session.signals import StopRequest, defer_signals

if TYPE_CHECKING:
    from mpi4py import MPI


MEET_NS, MEETINGS = 100_000_000, 50
"""How long ranks that exchange go on without meeting, to hear that one of them is to end: so long,
or so many times what a meeting takes, 2 % of a run at most."""


class Training:
    """One run: timed segments of steps; between them recording, evaluation, when to stop.

    Collective to build, to run and to close. The reporter is None on all ranks but 0.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        plan: Plan,
        exchange: MPIExchange,
        workers: TrainingWorkers,
        evaluation: Evaluation,
        recording: Recording,
        reporter: Reporter | None,
        uuid: str,
    ) -> None:
        experiment = plan.experiment
        self._comm, self._options, self._algorithm = comm, experiment.options, experiment.algorithm
        self._metric = experiment.task.metric
        self._exchange, self._workers, self._evaluation = exchange, workers, evaluation
        self._recording, self._reporter = recording, reporter
        self._state = self._algorithm.init(exchange, workers)
        self._budget = StepBudget(comm) if self._algorithm.needs.asynchronous else None
        self._keeper = Keeper(comm, plan, exchange, workers, self._state, uuid)
        self._step, self._elapsed_ns = self._keeper.step, self._keeper.elapsed_ns
        self._step_ns = 0.0
        """What a step took in the last segment."""
        self._met_ns, self._pause_ns = 0, MEET_NS
        self._asked, self._ends = StopRequest(), 0

    def run(self) -> bool:
        """Train until the last step, the target, or divergence; then close the file; collective.

        False where the run was asked to end before: then a checkpoint of it lies there.
        """
        options = self._options
        status, reached = COMPLETE, False
        with defer_signals(self._recording.mark) as self._asked:
            if not self._step:
                self._evaluate()
            while self._step < options.steps and status == COMPLETE and not reached:
                if not self._segment(self._next_stop()):
                    status = DIVERGED
                last = self._step
                if last % options.eval_every == 0 and last < options.steps and status == COMPLETE:
                    reached = self._evaluate()
                if last % options.flush_every == 0 or last % options.eval_every == 0:
                    self._recording.flush()
                if status == COMPLETE and not reached and last < options.steps:
                    if self._ends or self._keeper.due(last):
                        kept = self._keeper.keep(last, self._elapsed_ns, self._recording)
                    if self._ends:
                        self._suspend(kept)
                        return False
        self._algorithm.finish(self._exchange, self._workers, self._state)
        if not reached:  # else what was in flight when the target was met comes too late
            reached = self._evaluate()
        self._close(status, reached)
        return True

    @property
    def now(self) -> int:
        """The step that this rank takes, counted from 0."""
        return self._step + self._recording.taken

    def _next_stop(self) -> int:
        """The step up to which the next segment goes.

        Asynchronous ranks meet for an evaluation, never for the sake of a file.
        """
        options, step = self._options, self._step
        cadences = [options.eval_every]
        if not self._budget:
            cadences += [options.flush_every, options.checkpoint_every or options.steps]
        stops = [options.steps, *(step - step % n + n for n in cadences)]
        if not self._budget:  # also to hear of signals that other ranks got
            stops.append(step + max(1, int(self._pause_ns / self._step_ns) if self._step_ns else 1))
        if options.trace:
            stops += [options.warmup, options.warmup + options.trace]
        return min(stop for stop in stops if stop > step)

    def _segment(self, last: int) -> bool:
        """Take the steps up to `last`, timed; return whether training is still finite."""
        algorithm, exchange, workers = self._algorithm, self._exchange, self._workers
        state, meter, note = self._state, exchange.meter, self._recording.step
        self._recording.begin(self._step)
        turns = self._turns(last - self._step)
        self._comm.Barrier()
        began = time.perf_counter_ns()
        for _ in turns:
            start = meter.start()
            algorithm.step(exchange, workers, state)
            meter.lap(OTHER)
            note(start, workers.losses)
        took, taken = time.perf_counter_ns() - began, self._recording.taken
        self._recording.gather(self._step)
        finite = bool(np.isfinite(workers.losses).all() and np.isfinite(workers.x).all())
        asked, met = self._asked.number, self._met_ns
        heard = self._comm.allgather((took, finite, asked, taken * len(workers.ids), met))
        self._met_ns = time.perf_counter_ns() - began - took
        # Who came last did not wait for others: that is what meeting itself takes.
        self._pause_ns = max(MEET_NS, MEETINGS * min(met for *_, met in heard))
        slowest = max(took for took, *_ in heard)
        self._elapsed_ns += slowest
        self._ends = max(asked for _, _, asked, *_ in heard)
        if self._budget and self._ends:  # the ranks have not gone as far as they were to
            last = self._step + sum(steps for *_, steps, _ in heard) // workers.total
        self._step_ns = slowest / max(1, last - self._step)
        if self._reporter:
            self._reporter.advanced(last)
        self._step = last
        return all(finite for _, finite, *_ in heard)

    def _turns(self, steps: int) -> Iterable[int]:
        """One item a step of this rank in a segment of `steps` steps; collective.

        Ranks of an asynchronous algorithm share the segment's steps: each takes the next one as
        soon as it can, until all workers together have taken as many as others would have.
        """
        if not self._budget:
            return range(steps)
        budget, here, total = self._budget, len(self._workers.ids), self._workers.total
        budget.reset()

        def more() -> bool:
            if self._asked.number:
                budget.end()
            return budget.take(here) < steps * total

        return iter(more, False)

    def _evaluate(self) -> bool:
        """Score the models, record and show it; return whether the target is reached."""
        scores, self._losses, self._metrics = self._evaluation()
        if self._reporter:
            samples = self._step * self._options.batch * self._workers.total
            at = {"step": self._step, "samples": samples, "elapsed_ns": self._elapsed_ns}
            self._recording.evaluated(at | scores)
            self._reporter.evaluated(self._step, self._elapsed_ns / 1e9, scores)
        target = self._options.target
        return target is not None and self._metric.reached(scores["metric"], target)

    def _suspend(self, kept: Path) -> None:
        """Say in the files and to the user that the run waits to go on."""
        name = signal.Signals(self._ends).name
        self._recording.suspend(f"{name} at step {self._step}; goes on with --resume")
        self._comm.Barrier()
        if self._reporter:
            self._reporter.say(
                f"stopped by {name} at step {self._step}: the same command with --resume goes on "
                f"from {kept}"
            )

    def close(self) -> None:
        """Release the step budget; collective."""
        if self._budget:
            self._budget.close()

    def _close(self, status: str, reached: bool) -> None:
        digest = parameters_sha256(self._comm, self._workers.x)
        reason = f"NaN or infinity at or before step {self._step}" if status == DIVERGED else ""
        columns = {
            "loss": (("worker",), self._losses, "1", "held-out loss at the end"),
            "metric": (("worker",), self._metrics, "1", "metric at the end"),
        }
        worker = np.arange(self._workers.total)
        self._recording.close(
            status,
            {"parameters_sha256": digest, "target_reached": reached, "reason": reason},
            lambda file: add_table(file, "workers", {"worker": worker}, columns),
        )
        self._keeper.forget()


FAR = 2**40
"""More worker-steps than a segment has; so often added by every rank, still an int64."""


class StepBudget:
    """How many worker-steps have been begun since `reset`. Collective to build and to close."""

    def __init__(self, comm: MPI.Intracomm) -> None:
        from mpi4py import MPI

        self._comm = comm
        here = np.dtype(np.int64).itemsize if comm.rank == 0 else 0
        self._win = MPI.Win.Allocate(here, np.dtype(np.int64).itemsize, comm=comm)
        self._before = np.zeros(1, np.int64)

    def reset(self) -> None:
        """Nothing has been begun; collective."""
        self._comm.Barrier()
        if self._comm.rank == 0:
            self._win.Lock(0)
            self._win.Put(np.zeros(1, np.int64), 0)
            self._win.Unlock(0)
        self._comm.Barrier()

    def take(self, steps: int) -> int:
        """Begin so many worker-steps; return how many all ranks had begun before."""
        from mpi4py import MPI

        self._win.Lock(0, MPI.LOCK_SHARED)
        self._win.Fetch_and_op(np.array([steps], np.int64), self._before, 0, op=MPI.SUM)
        self._win.Unlock(0)
        return int(self._before[0])

    def end(self) -> None:
        """Let no rank begin another step."""
        self.take(FAR)

    def close(self) -> None:
        """Free the window; collective."""
        self._win.Free()
