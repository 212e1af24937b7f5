"""The training loop: timed segments of steps; recording and evaluation between them."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from algorithms.exchange.order import in_order
from algorithms.wire.meter import OTHER
from algorithms.wire.waiting import meet
from bench.common.text import counted
from bench.results.resultfile import add_table
from bench.results.schema import COMPLETE, DIVERGED
from bench.runtime.best import Best
from bench.runtime.budget import StepBudget
from bench.runtime.checkpoint.checkpoints import Checkpoints
from bench.runtime.churn import member_changes, spread
from bench.runtime.console import Reporter
from bench.runtime.control import Control, replayed
from bench.runtime.evaluation import Evaluation, parameters_sha256, rounding_error
from bench.runtime.membership import Epoch
from bench.runtime.pipeline.learner import stage_columns
from bench.runtime.recording import Recording
from bench.runtime.setup import Material, Plan
from bench.runtime.survival import Survival
from bench.session.signals import StopRequest, defer_signals

if TYPE_CHECKING:
    from mpi4py import MPI


MEETING_INTERVAL_NS, MEETINGS = 100_000_000, 50
"""Maximum interval between checks for a stop signal, or this multiple of the duration of a check:
2 % of a run at most."""
FLUSH_INTERVAL_NS = 4_000_000_000
"""Maximum interval between two chances to write the file, unless a step takes longer."""


class Training:
    """One run: timed segments of steps, with recording, evaluation and stops between them.

    Construction, `run` and `close` are collective. epoch: with the state of the algorithm at the
    start. reporter: None on all ranks but 0.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        plan: Plan,
        data: Material,
        epoch: Epoch,
        evaluation: Evaluation,
        recording: Recording,
        reporter: Reporter | None,
        uuid: str,
        best: Best,
        survival: Survival | None = None,
    ) -> None:
        experiment = self._experiment = plan.experiment
        self._epoch = epoch
        self._turnover = member_changes(comm, plan, data, epoch, recording)
        exchange, workers = epoch.exchange, epoch.workers
        self._comm, self._options = comm, experiment.options
        self._algorithm = in_order(experiment.algorithm, exchange)
        replay = replayed(experiment.options.repeat)
        self._control = control = Control(experiment, recording.add_decision, replay)
        self._metric = experiment.task.metric
        self._evaluation = evaluation
        self._recording, self._reporter, self._best = recording, reporter, best
        self._budget = StepBudget(comm) if self._algorithm.needs.asynchronous else None
        self._checkpoints = Checkpoints(comm, plan, epoch, uuid, control.checkpointed)
        if plan.resumed:
            control.resume()
        self._step, self._elapsed_ns = self._checkpoints.step, self._checkpoints.elapsed_ns
        if exchange.clock and not plan.resumed:
            exchange.clock.reset()  # tasks that share statistics have exchanged before
        if workers.pipelines:
            workers.pipelines.measure_memory()
        exchange.meter.start()  # a model clock may have been set
        self._step_ns = 0.0
        """Duration of a step in the last segment."""
        self._meeting_ns, self._pause_ns = 0, MEETING_INTERVAL_NS
        self._signal, self._stop_signal = StopRequest(), 0
        self._survival, self._trained_ns, self._copying_ns = survival, 0, 0

    def run(self) -> bool:
        """Train until the last step, the target, --patience or divergence; then close the file.

        Collective. Returns False where a signal ended the run before, with a checkpoint to resume
        from.
        """
        options, end = self._options, self._experiment.steps
        status, over = COMPLETE, False
        with defer_signals(self._recording.mark) as self._signal:
            if self._survival:
                copies = self._survival.copies
                self._checkpoints.copy(copies, self._step, self._elapsed_ns, self._recording)
            if not self._step:
                self._evaluate()
            while self._step < end and status == COMPLETE and not over:
                if self._turnover:
                    self._turnover.follow(self._epoch, self._algorithm, self._step)
                evaluation = self._experiment.next_evaluation(self._step)
                decided = self._control.begin(self._step, self._epoch.state)
                self._algorithm = in_order(decided, self._epoch.exchange)
                if not self._segment(self._next_stop(evaluation)):
                    status = DIVERGED
                last = self._step
                if last == evaluation and last < end and status == COMPLETE:
                    over = self._evaluate()
                self._recording.flush(due=last % options.flush_every == 0 or last == evaluation)
                if status == COMPLETE and not over and last < end:
                    if self._stop_signal or self._checkpoints.due(last):
                        checkpoint = self._checkpoints.save(last, self._elapsed_ns, self._recording)
                    if self._stop_signal:
                        self._suspend(checkpoint)
                        return False
                    if self._survival:
                        self._protect()
        self._algorithm.finish(self._epoch.exchange, self._epoch.workers, self._epoch.state)
        if not over:  # else `finish` applied exchanges after the last evaluation
            self._evaluate()
        self._close(status)
        return True

    def _protect(self) -> None:
        """Record the first steps after a death, and take a copy of the state if due; collective."""
        assert self._survival
        if self._survival.stepped():
            self._recording.add_deaths()
        copies = self._survival.copies
        if copies.due(self._step, self._trained_ns, self._copying_ns):
            self._checkpoints.copy(copies, self._step, self._elapsed_ns, self._recording)

    @property
    def now(self) -> int:
        """Number of the step that this rank takes, counted from 0."""
        return self._step + self._recording.steps

    def _next_stop(self, evaluation: int) -> int:
        """Return the last step of the next segment; evaluation: step of the next evaluation.

        Asynchronous ranks meet for an evaluation, and after FLUSH_INTERVAL_NS to write a file.
        """
        options, step, end = self._options, self._step, self._experiment.steps
        stops = [end, evaluation, self._control.until]
        if not self._budget:  # also to learn of signals that other ranks received
            cadences = options.flush_every, options.checkpoint_every, options.protect_every
            stops += [step - step % n + n for n in cadences if n]
            stops.append(step + max(1, int(self._pause_ns / self._step_ns) if self._step_ns else 1))
        elif self._step_ns:
            stops.append(step + max(1, int(FLUSH_INTERVAL_NS / self._step_ns)))
        if self._turnover:
            stops.append(self._turnover.next_step)
        if options.trace:
            stops += [options.warmup, options.warmup + options.trace]
        return min(stop for stop in stops if stop > step)

    def _segment(self, last: int) -> bool:
        """Take the steps up to `last`, timed; return whether losses and parameters are finite."""
        algorithm, exchange, workers = self._algorithm, self._epoch.exchange, self._epoch.workers
        state, meter, note = self._epoch.state, exchange.meter, self._recording.step
        self._recording.begin(self._step)
        turns = self._turns(last - self._step)
        before = meter.bytes_sent + meter.bytes_copied
        meet(self._comm)
        began = time.perf_counter_ns()
        for _ in turns:
            start = meter.start()
            algorithm.step(exchange, workers, state)
            meter.lap(OTHER)
            note(start, workers.losses)
        elapsed, steps = time.perf_counter_ns() - began, self._recording.steps
        losses = self._recording.losses() if self._control.listens else None
        nbytes = meter.bytes_sent + meter.bytes_copied - before
        meet(self._comm)  # before collectives that occupy the core while they wait
        self._recording.gather(self._step)
        finite = workers.finite()
        number, meeting = self._signal.number, self._meeting_ns
        copying = self._survival.copies.cost_ns if self._survival else 0
        reports = self._comm.allgather(
            (elapsed, finite, number, steps * len(workers.ids), meeting, copying, losses, nbytes)
        )
        self._meeting_ns = time.perf_counter_ns() - began - elapsed
        # The rank that arrives last does not wait: its time is the cost of the meeting itself.
        cheap_ns = MEETINGS * min(meeting for *_, meeting, _, _, _ in reports)
        self._pause_ns = min(max(MEETING_INTERVAL_NS, cheap_ns), FLUSH_INTERVAL_NS)
        self._copying_ns = min(copying for *_, copying, _, _ in reports)
        self._trained_ns = slowest = max(elapsed for elapsed, *_ in reports)
        clock, until = exchange.clock, self._elapsed_ns
        self._elapsed_ns = clock.elapsed_ns() if clock else self._elapsed_ns + slowest
        if self._turnover:  # the slowest worker may have died, and the segment be over early
            self._elapsed_ns, last = max(until, self._elapsed_ns), self._step + steps
        self._stop_signal = max(number for _, _, number, *_ in reports)
        if self._budget and self._stop_signal:  # the ranks stopped before the end of the segment
            last = self._step + sum(steps for _, _, _, steps, *_ in reports) // workers.total
        self._step_ns = slowest / max(1, last - self._step)
        if self._control.recorded:
            rows = [x for *_, x, _ in reports]
            together = np.concatenate(rows, axis=1) if self._control.listens else None
            sent = sum(sent for *_, sent in reports)
            self._control.add(last - self._step, self._elapsed_ns - until, sent, together)
        if self._reporter:
            self._reporter.show_progress(last)
        self._step = last
        return all(finite for _, finite, *_ in reports)

    def _turns(self, steps: int) -> Iterable[int]:
        """Return an iterable with one item per step of this rank in a segment; collective.

        Ranks of an asynchronous algorithm share the steps of the segment: each takes the next one
        as soon as it can, until all workers together have taken `steps` steps per worker.
        """
        if self._turnover:
            return self._turnover.turns(self._epoch, steps)
        if not self._budget:
            return range(steps)
        workers = self._epoch.workers
        budget, here, total = self._budget, len(workers.ids), workers.total
        budget.reset()

        def more() -> bool:
            if self._signal.number:
                budget.end()
            return budget.take(here) < steps * total

        return iter(more, False)

    def _evaluate(self) -> bool:
        """Score the models, record, show and save them; return whether the run is to end."""
        if self._turnover:
            self._turnover.evaluate_members(self._evaluation, self._epoch)
        scores, self._losses, self._metrics = self._evaluation()
        self._control.progress.consensus = scores["consensus"]
        if self._reporter:
            turnover, total = self._turnover, self._epoch.workers.total
            steps = turnover.worker_steps(self._step) if turnover else self._step * total
            samples = steps * self._options.minibatch
            at = {"step": self._step, "samples": samples, "elapsed_ns": self._elapsed_ns}
            since = self._control.since(self._step)
            self._recording.add_evaluation(at | scores | {"since": since})
            self._reporter.show_evaluation(self._step, self._elapsed_ns / 1e9, scores, since)
        self._best.add(scores, self._step, self._evaluation.state_dict)
        target, patience = self._options.target, self._options.patience
        self._reached = target is not None and self._metric.reached(scores["metric"], target)
        self._stalled = 0 < patience <= self._best.since
        return self._reached or self._stalled

    def _suspend(self, checkpoint: Path) -> None:
        """Record and print that the run waits to be resumed."""
        name = signal.Signals(self._stop_signal).name
        self._recording.suspend(f"{name} at step {self._step}; continue with --resume")
        meet(self._comm)
        if self._reporter:
            self._reporter.print_line(
                f"stopped by {name} at step {self._step}: the same command with --resume continues "
                f"from {checkpoint}"
            )

    def close(self) -> None:
        """Release the step budget; collective."""
        if self._budget:
            self._budget.close()

    def _close(self, status: str) -> None:
        self._control.close()
        if status == COMPLETE:
            self._best.end(self._step, self._evaluation.state_dict)
        workers, total = self._epoch.workers, self._experiment.workers
        digest = parameters_sha256(self._comm, workers.x, workers.cell)
        ending: dict[str, Any] = {"target_reached": self._reached}
        if self._turnover:
            ending |= self._turnover.results(self._step)
        reason = f"NaN or infinity at or before step {self._step}" if status == DIVERGED else ""
        if self._stalled and not (reason or self._reached or self._step == self._experiment.steps):
            ending["patience_ended"] = True
            count = counted(self._best.since, "evaluation")
            reason = f"{count} without a better {self._metric.name}"
        if self._options.wire:
            ending["wire_error"] = rounding_error(self._comm, workers.x)
        losses, metrics = self._losses, self._metrics
        if self._turnover:
            losses, metrics = (spread(x, self._epoch.placement) for x in (losses, metrics))
        columns: dict[str, Any] = {
            "loss": (("worker",), losses, "1", "held-out loss at the end"),
            "metric": (("worker",), metrics, "1", "metric at the end"),
        }
        if self._evaluation.answers:
            own = self._evaluation.answers.own
            columns["own_metric"] = (("worker",), own, "1", "metric on own data at the end")
        groups = self._algorithm.worker_groups(self._epoch.exchange, workers, self._epoch.state)
        if groups is not None:
            if self._turnover:
                groups = np.nan_to_num(spread(groups, self._epoch.placement), nan=-1).astype(int)
            columns["group"] = (("worker",), groups, "1", "group at the end; or -1 for the dead")
        worker = np.arange(total)
        stages = stage_columns(self._comm, workers.pipelines)

        def finish(file: Any) -> None:
            add_table(file, "workers", {"worker": worker}, columns)
            if stages:
                add_table(file, "pipeline", {"rank": np.arange(self._comm.size)}, stages)

        self._recording.close(
            status,
            {"parameters_sha256": digest, **ending, "reason": reason},
            finish,
        )
        self._checkpoints.remove()
