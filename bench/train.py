"""Train a task with one algorithm on one partition: `mpirun -n P python -m bench.train`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np

from bench.results.reader import Run
from bench.results.reader import read as read_result
from bench.runtime import repeat, setup
from bench.runtime.arguments import read
from bench.runtime.config import TRAIN
from bench.runtime.console import Reporter, introduction
from bench.runtime.evaluation import Evaluation
from bench.runtime.recording import Recording
from bench.runtime.separation import separation
from bench.runtime.training import Training
from bench.runtime.training_file import open_file, open_part
from bench.runtime.writers import group
from bench.session import launch
from bench.session.binding import keep_freed_memory, use_threads
from bench.session.clocks import read_clocks
from bench.session.signals import EXIT_RESUME
from bench.session.watchdog import watchdog

if TYPE_CHECKING:
    from mpi4py import MPI


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    return launch.main(argv, TRAIN.parser, train)


def train(
    comm: MPI.Intracomm, argv: Sequence[str], results: list[Path], *, quiet: bool = False
) -> int:
    """Prepare, train and close one run; the paths of its files go into `results`; collective.

    quiet: print nothing. Returns 0, or AGAIN where the run was asked to end and waits to go on.
    """
    plan = setup.plan(comm, launch.on_all_ranks(comm, lambda: read(argv)))
    if plan.finished:
        results.append(plan.path)
        if comm.rank == 0 and not quiet:
            print(f"{plan.path} is there already: nothing to do")
        return 0
    material = setup.material(comm, plan)
    ranks, flaws = use_threads(comm, plan.config.threads)
    before = launch.on_all_ranks(comm, lambda: repeat.before(plan.config, ranks[0]["threads"]))
    keep_freed_memory()
    with ExitStack() as stack:
        exchange, workers = setup.workers(comm, plan, material)
        stack.enter_context(launch.closing(exchange))
        evaluation = Evaluation(comm, material.problem, plan.workers, workers.x)
        stack.enter_context(launch.closing(evaluation))
        measured = separation(comm, plan, material, exchange, workers, evaluation)
        writers = stack.enter_context(launch.closing(group(comm, plan.config.writers)))
        results += dict.fromkeys([plan.path, writers.path(plan.path)])
        hosts = [str(rank["host"]) for rank in ranks]
        clocks, uuid = read_clocks(comm, hosts), comm.bcast(uuid4().hex)
        if plan.resumed:
            plan.resumed.check_writers(comm, writers.writes)
            uuid = plan.resumed.about.run_uuid
        file = reporter = None
        if comm.rank == 0:
            about = (plan, material, measured, exchange)
            file = open_file(*about, ranks, argv, flaws, writers, clocks, uuid)
            reporter = Reporter(plan.config.steps, plan.parts.task.metric.name, quiet=quiet)
            stack.enter_context(reporter)
            notes = repeat.changes(before) if before else []
            for line in introduction(*about, comm.size, [*notes, *flaws]):
                reporter.say(line)
        elif writers.writes:
            file = open_part(plan, writers, uuid, comm.size)
        recording = Recording(comm, plan.config, exchange.meter, writers, file, hosts)
        with np.errstate(all="ignore"):  # a run that overflows is told as diverged
            about_it = (exchange, workers, evaluation, recording, reporter, uuid)
            training = Training(comm, plan, *about_it)
            watched = watchdog(comm, plan.config.watchdog, lambda: training.now, results)
            with launch.closing(training), watched:
                if not training.run():
                    return EXIT_RESUME
        if reporter:
            tell(reporter, plan, writers.groups, before)
    return 0


def tell(reporter: Reporter, plan: setup.Plan, parts: int, before: Run | None) -> None:
    """Print how a run ended; before: the run that it repeated."""
    if parts > 1:
        reporter.say(
            f"steps in {parts} files, to be put together: python -m bench.merge {plan.path}"
        )
        return
    run = read_result(plan.path)
    reporter.summarise(run)
    if before:
        reporter.say(f"repeated   {repeat.verdict(before, run)}")


if __name__ == "__main__":
    sys.exit(main())
