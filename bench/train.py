"""Train a task with one algorithm on one partition: `mpirun -n P python -m bench.train`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.common.spec import UserError
from bench.common.summary import summarise_results
from bench.common.text import printable
from bench.runtime.options import TABLE
from bench.session import launch
from bench.session.beats import BEFORE
from bench.session.binding import keep_freed_memory, use_threads
from bench.session.deadlines import FIXED_S, parse
from bench.session.signals import EXIT_RESUME

if TYPE_CHECKING:
    from mpi4py import MPI

    from bench.results.claims import Claim
    from bench.results.reader import Run
    from bench.results.rows import TrainingRow
    from bench.runtime import setup
    from bench.runtime.best import Best
    from bench.runtime.console import Reporter
    from bench.runtime.experiment import Experiment
    from bench.runtime.survival import Survival
    from bench.runtime.trackers import Tracker
    from bench.runtime.training import Training


@dataclass
class Progress:
    """Step of this rank, as the watchdog reads it; before the first step of a run, BEFORE."""

    training: Training | None = None

    def step(self) -> int:
        """Return the number of the step that this rank takes."""
        return self.training.now if self.training else BEFORE


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    return launch.main(argv, TABLE.parser, run, name="bench.train")


def run(comm: MPI.Intracomm, argv: Sequence[str], results: list[Claim]) -> int:
    """Train the experiment of a command line, once for each of its launches; see `train`."""
    if _value(argv, "on_death"):
        from bench.runtime.survival import Survival

        survival = Survival(comm, results)
        code = survival.run(lambda left: _launches(left, argv, results, survival))
        comm = survival.comm
    else:
        code = _launches(comm, argv, results)
    if comm.rank == 0:
        summarise_results([claim.path for claim in results], _rows)
    return code


def _rows(path: Path) -> list[TrainingRow]:
    """Return the row of a result; none for one in several files, which are to be merged."""
    from bench.results.reader import BrokenFileError, read

    try:
        return [read(path).row()]
    except BrokenFileError:
        return []


def _launches(
    comm: MPI.Intracomm,
    argv: Sequence[str],
    results: list[Claim],
    survival: Survival | None = None,
) -> int:
    """Train the launches of a command line; return the exit code; collective.

    survival: of a run with --on-death.
    """
    from bench.session.watchdog import watchdog

    if survival and survival.plan:
        experiment = survival.plan.experiment
        return train(comm, experiment, results, argv=argv, survival=survival)
    seconds, adapts = _deadline(argv)
    with watchdog(comm, seconds, Progress().step, results, adapts=adapts):
        from bench.runtime import repeat
        from bench.runtime.checks import check_asides
        from bench.runtime.experiment import Experiment
        from bench.runtime.launches import announcement, results_of_launches

        def resolve() -> Experiment:
            launched = survival.launched if survival else comm.size
            experiment = Experiment.resolve(repeat.read_options(argv), launched)
            check_asides(experiment.options)  # before a launch is announced
            if survival:
                survival.check(experiment)
            return survival.placed(experiment) if survival else experiment

        experiment = launch.on_all_ranks(comm, resolve)
    options, first = experiment.options, experiment.path
    paths = [first] * options.launches
    if options.name or not options.repeat:  # a repetition finds its own name
        paths = results_of_launches(
            comm,
            first,
            options.launches,
            results,
            "bench.train",
            named=bool(options.name),
            overwrite=options.overwrite,
            resume=options.resume,
        )
    for number, path in enumerate(paths, 1):
        line = announcement(first, path, number, len(paths))
        if comm.rank == 0 and line:
            print(printable(line), flush=True)
        if path != first:
            name = path.name.removesuffix(".h5")
            experiment = replace(experiment, options=replace(options, name=name))
        code = train(comm, experiment, results, argv=argv, number=number, survival=survival)
        if code:
            return code
    return 0


def _value(argv: Sequence[str], name: str) -> Any:
    """Return an option of a command line; the default where the command line is wrong."""
    try:
        return TABLE.values(TABLE.texts(argv)).get(name, TABLE.entries[name].default)
    except UserError:
        return TABLE.entries[name].default


def _deadline(argv: Sequence[str]) -> tuple[int, bool]:
    """Return --watchdog of a command line; the default where the command line is wrong."""
    try:
        return parse(_value(argv, "watchdog"))
    except UserError:
        return FIXED_S, False


def train(
    comm: MPI.Intracomm,
    experiment: Experiment,
    results: list[Claim],
    *,
    argv: Sequence[str] | None = None,
    quiet: bool = False,
    number: int = 1,
    survival: Survival | None = None,
) -> int:
    """Train an experiment and write its result file; return the exit code; collective.

    results: receives the claim of the result. argv: the command line that the
    file records; by default the shortest one that runs the experiment. quiet: print nothing.
    number: of the run among those of these processes. survival: needed with
    --on-death. The exit code is 0, or EXIT_RESUME where a
    signal ended the run and it waits to be resumed. Errors: UserError on every rank.
    """
    from bench.runtime import identity, setup
    from bench.runtime.best import missing_model
    from bench.runtime.opening import holding
    from bench.runtime.trackers import tracking
    from bench.session.watchdog import watchdog

    progress = Progress()
    if survival:
        survival.step = progress.step
    elif experiment.options.on_death:
        raise UserError(
            f"--on-death {experiment.options.on_death} is for single runs of bench.train: leave it "
            "out here"
        )
    seconds, adapts = parse(experiment.options.watchdog)
    kills = survival is not None
    with watchdog(comm, seconds, progress.step, results, adapts=adapts, kills=kills):
        plan = survival.plan if survival else None
        plan = plan or setup.plan(comm, experiment, results, number)
        if survival:
            survival.plan = plan
        argv = plan.experiment.arguments() if argv is None else argv
        with holding(plan.claim):
            if not plan.finished:
                with tracking(comm, plan.experiment, plan.path) as trackers:
                    return _train(comm, plan, argv, progress, trackers, quiet, survival)
            places, _ = use_threads(comm, experiment.options.threads)
            if comm.rank == 0 and not quiet:
                print(printable(f"{plan.path} exists already: nothing to do"), flush=True)
                notes = (*identity.notes_on(plan.path, places), *missing_model(plan))
                for note in (*plan.notes, *notes):
                    print(printable(f"note: {note}"))
            return 0


def _train(
    comm: MPI.Intracomm,
    plan: setup.Plan,
    argv: Sequence[str],
    progress: Progress,
    trackers: Sequence[Tracker],
    quiet: bool,
    survival: Survival | None,
) -> int:
    """Train as planned; return the exit code; collective."""
    import numpy as np

    from bench.runtime import repeat, setup, start
    from bench.runtime.best import best_before
    from bench.runtime.console import Reporter
    from bench.runtime.evaluation import evaluation_of
    from bench.runtime.introduction import introduction
    from bench.runtime.separation import separation
    from bench.runtime.training import Training
    from bench.runtime.training_file import recording_of
    from bench.runtime.writers import group

    best = best_before(comm, plan, survival.scores if survival else [])
    plan, material = setup.with_material(comm, plan)
    experiment, options = plan.experiment, plan.experiment.options
    ranks, flaws = setup.places(comm, plan, survival.threads if survival else options.threads)
    plan, original = launch.on_all_ranks(
        comm, lambda: _compared(plan, ranks) if comm.rank == 0 else (plan, None)
    )
    keep_freed_memory()
    with ExitStack() as stack:
        epoch = start.first_epoch(comm, experiment, material, plan.device)
        evaluation = evaluation_of(comm, experiment, material, epoch.workers)
        for resource in (epoch, evaluation):
            stack.enter_context(launch.closing(resource))
        parts = (comm, experiment, material, epoch.exchange, epoch.workers, evaluation)
        measured = survival.separation(*parts) if survival else separation(*parts)
        epoch.state = start.initial_state(experiment, epoch.exchange, epoch.workers)
        writers = stack.enter_context(launch.closing(group(comm, options.writers)))
        plan.claim.files += dict.fromkeys([plan.path, writers.path(plan.path)])
        content = (plan, material, measured, epoch.exchange)
        recording, uuid = recording_of(
            comm, *content, ranks, argv, flaws, writers, trackers, survival
        )
        reporter = None
        if comm.rank == 0:
            reporter = Reporter(experiment.steps, experiment.task.metric.name, quiet=quiet)
            stack.enter_context(reporter)
            notes = repeat.changes(original, ranks) if original else []
            if not (survival and survival.deaths):
                reporter.print_lines(introduction(*content, [*notes, *flaws]))
        with np.errstate(all="ignore"):  # a run that overflows is reported as diverged
            training = Training(
                comm,
                plan,
                material,
                epoch,
                evaluation,
                recording,
                reporter,
                uuid,
                best,
                survival,
            )
            progress.training = training
            if survival:
                lines = survival.restored(ranks)
                recording.add_deaths()
                if reporter:
                    reporter.print_lines(lines)
            with launch.closing(training):
                if not training.run():
                    return EXIT_RESUME
        if reporter:
            conclude(reporter, plan, writers.groups, original, best)
    return 0


def _compared(plan: setup.Plan, ranks: list[dict[str, Any]]) -> tuple[setup.Plan, Run | None]:
    """Compare this process with the run that it resumes or repeats.

    Return the plan with notes, and the run to repeat; None without --repeat. ranks: as use_threads
    returns them. Errors: UserError.
    """
    from bench.results.resultfile import part_of
    from bench.runtime import identity, repeat

    experiment = plan.experiment
    if plan.resumed and not experiment.launched:
        before = identity.origin(part_of(plan.path))
        notes = identity.check_arithmetic(before, ranks, identity.other_place(experiment))
        plan = replace(plan, notes=(*plan.notes, *notes))
    return plan, repeat.original_run(experiment, ranks)


def conclude(
    reporter: Reporter, plan: setup.Plan, files: int, original: Run | None, best: Best
) -> None:
    """Print the summary of a finished run; files: with its steps; original: the run repeated."""
    from bench.results.reader import read as read_result
    from bench.runtime import repeat

    if files > 1:
        reporter.print_line(
            f"steps in {files} files, to be merged: python -m bench.merge {plan.path}"
        )
        return
    run = read_result(plan.path)
    reporter.summarise(run)
    if best.saved:
        reporter.print_line(f"model      {best.saved_line()}")
    if original:
        reporter.print_line(f"repeated   {repeat.verdict(original, run)}")


if __name__ == "__main__":
    sys.exit(main())
