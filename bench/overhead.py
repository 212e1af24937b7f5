"""Compare a training step with plain torch or with DDP, in pairs: `python -m bench.overhead`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bench.common.options import Table, check_ranges, option
from bench.common.spec import UserError, unknown_name
from bench.common.summary import summarise
from bench.common.text import counted
from bench.session import launch
from bench.session.binding import check_threads, keep_freed_memory, use_threads

if TYPE_CHECKING:
    from mpi4py import MPI

    from bench.runtime.experiment import Experiment
PROGRAM = "bench.overhead"
ALONE = "local_sgd:period=0"
"""Algorithm of a step without exchange."""
WORKERS = 256
ALLREDUCE = "shared_memory"
MODELS = ("digits", "digits:hidden=13333")
"""Models beside DDP, of 9,610 and 999,985 parameters."""
STEPS = 20
"""Steps of a sample; after fewer the caches still hold the data of the other side."""
LAPS_A_STEP = 10
"""Phase laps of a recorded step, more than any algorithm needs."""


@dataclass(frozen=True)
class Options:
    """The options of bench.overhead."""

    against: str = option("plain", "plain, batched or ddp", "NAME")
    rounds: int = option(200, "pairs of samples", "N", least=1)
    batch: int = option(16, "samples per worker and step", "B", least=1)
    workers: int | None = option(
        None, f"with plain, batched: virtual workers (default: {WORKERS})", "W", least=1
    )
    allreduce: str | None = option(
        None,
        f"with ddp: all-reduces of `bench list` (default: {ALLREDUCE})",
        "NAME[,NAME...]",
    )
    beside: int = option(
        0, "busy processes of low priority, started on the host of rank 0", "N", least=0
    )

    def __post_init__(self) -> None:
        check_ranges(self)


TABLE = Table(
    Options,
    prog="python -m bench.overhead",
    description="Alternate our training step with torch's, torch.optim.SGD on the same model, "
    "batch and threads, in one program, and print medians with 95 % intervals. plain: the loop "
    "without exchange, on one rank. batched: many workers beside a hand-written loop of batched "
    "products that updates in place, without momentum. ddp: all-reduce SGD of one worker per "
    "rank beside DistributedDataParallel over gloo, under mpirun, by the slowest rank.",
    epilog="Example: mpirun -n 2 python -m bench.overhead --against ddp --allreduce "
    "shared_memory,recursive_doubling",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    return launch.main(
        argv, TABLE.parser, lambda comm, arguments, _: compare(comm, arguments), name=PROGRAM
    )


def compare(comm: MPI.Intracomm, argv: Sequence[str]) -> None:
    """Measure and print the table that the command line asks for; collective."""
    options = TABLE.read(argv)
    launch.check_launch(os.environ, comm.size, 0)
    check_threads(comm, 0)
    sides = {"plain": against_plain, "batched": against_batched, "ddp": against_ddp}
    if options.against not in sides:
        raise unknown_name("--against", options.against, sides)
    keep_freed_memory()
    from bench.yardsticks.pairs import busy_processes

    with busy_processes(options.beside if comm.rank == 0 else 0):
        sides[options.against](comm, options)


def against_plain(comm: MPI.Intracomm, options: Options) -> None:
    """Print the cost of a step beside a plain torch loop, of one worker and of many."""
    from bench.runtime import setup
    from bench.yardsticks.pairs import LR, MOMENTUM, OPTIMIZER, OurLoop, pairs, timed_experiment

    workers = _alone(comm, options)
    experiments = [
        timed_experiment(1, total, options.batch, algorithm=ALONE, partition=partition)
        for total, partition in ((1, "iid"), (workers, "iid:size=64"))
    ]
    from bench.tasks.classifier import Classifier
    from bench.yardsticks.pairs import PlainLoop

    rounds, steps, beside = options.rounds, STEPS, "plain torch"
    with ExitStack() as stack:
        data = [setup.material(comm, x) for x in experiments]
        (place,), _ = use_threads(comm, 0)
        one, many = (
            stack.enter_context(closing(OurLoop(comm, experiment, material)))
            for experiment, material in zip(experiments, data, strict=True)
        )
        problem = data[0].problem
        assert isinstance(problem, Classifier)
        samples = problem.training(data[0].shards[0])
        module = problem.build(seed=0)
        plain = PlainLoop(module, *samples, batch=options.batch, lr=LR, momentum=MOMENTUM)
        print(
            f"digits, batch {options.batch}, {OPTIMIZER}, {counted(place['threads'], 'thread')}, "
            f"{neighbours(options)}medians [95 %]"
        )
        single = pairs(comm, partial(one.run, steps), partial(plain.run, steps), rounds, steps)
        print(single.row("a step of one worker", beside), flush=True)
        flock = pairs(
            comm, partial(many.run, 1), partial(plain.run, workers), max(20, rounds // 10)
        )
        print(
            flock.row(
                f"a step of {counted(workers, 'worker')}, {counted(workers, 'plain step')}", beside
            ),
            flush=True,
        )
        print(recording(comm, beside))


def _alone(comm: MPI.Intracomm, options: Options) -> int:
    """Return the number of workers of a comparison on one rank. Errors: UserError."""
    if comm.size > 1:
        raise UserError(
            f"--against {options.against} runs on one rank, got {comm.size}: start it without "
            "mpirun, or give --against ddp"
        )
    if options.allreduce is not None:
        raise UserError(
            f"--allreduce {options.allreduce} belongs to --against ddp: one rank has nothing to "
            "reduce, leave it out"
        )
    return WORKERS if options.workers is None else options.workers


def against_batched(comm: MPI.Intracomm, options: Options) -> None:
    """Print the cost of a step of many workers beside a hand-written loop of batched products."""
    from bench.runtime import setup
    from bench.yardsticks.pairs import LR, OurLoop, pairs, timed_experiment

    workers, optimizer = _alone(comm, options), f"sgd:lr={LR}"
    shards = {"algorithm": ALONE, "partition": "iid:size=64", "optimizer": optimizer}
    experiment = timed_experiment(1, workers, options.batch, **shards)
    from bench.tasks.classifier import Classifier
    from bench.yardsticks.batched import BatchedLoop

    data = setup.material(comm, experiment)
    (place,), _ = use_threads(comm, 0)
    problem = data.problem
    assert isinstance(problem, Classifier)
    module, samples = problem.build(seed=0), (problem.inputs, problem.targets, data.places)
    theirs = BatchedLoop(module, *samples, batch=options.batch, lr=LR)
    print(
        f"digits, batch {options.batch}, {optimizer}, {counted(place['threads'], 'thread')}, "
        f"{neighbours(options)}medians [95 %]"
    )
    with closing(OurLoop(comm, experiment, data)) as ours:
        figures = pairs(comm, partial(ours.run, 1), partial(theirs.run, 1), options.rounds)
        print(figures.row(f"a step of {counted(workers, 'worker')}", "batched"), flush=True)


def against_ddp(comm: MPI.Intracomm, options: Options) -> None:
    """Print the cost of a step beside DistributedDataParallel, row by row; collective."""
    from bench.yardsticks.pairs import OPTIMIZER

    if comm.size == 1:
        raise UserError("--against ddp needs 2 ranks or more, got 1: launch with `mpirun -n 2`")
    if options.workers is not None:
        raise UserError(
            f"--workers {options.workers} belongs to --against plain: beside ddp every rank is one "
            "worker, leave it out"
        )
    names = (ALLREDUCE if options.allreduce is None else options.allreduce).split(",")
    experiments = {task: ddp_rows(task, comm.size, options.batch, names) for task in MODELS}
    from bench.yardsticks.distributed import gloo_group, table

    def say(line: str) -> None:
        if comm.rank == 0:
            print(line, flush=True)

    places, flaws = use_threads(comm, 0)
    say(
        f"{comm.size} ranks of {counted(places[0]['threads'], 'thread')}, "
        f"batch {options.batch} a rank, {OPTIMIZER}, {neighbours(options)}the slowest rank's time, "
        "medians [95 %]"
    )
    for flaw in flaws:
        say(f"note: {flaw}")
    with gloo_group(comm):
        for task in MODELS:
            for line in table(comm, experiments[task], options.rounds, STEPS):
                say(line)


def neighbours(options: Options) -> str:
    """Return the part of a heading about busy processes, "" without any."""
    n = options.beside
    return f"beside {counted(n, 'busy process', 'busy processes')}, " if n else ""


def ddp_rows(task: str, ranks: int, batch: int, names: Sequence[str]) -> dict[str, Experiment]:
    """Return our experiments by row: a step without exchange, then one per all-reduce."""
    from bench.yardsticks.pairs import timed_experiment

    rows = {"no exchange": timed_experiment(ranks, ranks, batch, task=task, algorithm=ALONE)}
    return rows | {
        f"allreduce_sgd, {name}": timed_experiment(ranks, ranks, batch, task=task, allreduce=name)
        for name in names
    }


def recording(comm: MPI.Intracomm, yardstick: str, steps: int = 100, rounds: int = 200) -> str:
    """Return the row of the median cost to record one step: laps, note, its part of the gather."""
    import numpy as np

    from algorithms.wire.meter import PHASES, Meter
    from bench.results.recorder import Recorder
    from bench.yardsticks.pairs import table_row

    meter = Meter()
    recorder = Recorder(meter)
    losses = np.zeros(1, np.float32)
    spent = np.empty(rounds)
    for k in range(rounds):
        began = time.perf_counter_ns()
        for _ in range(steps):
            start = meter.start()
            for lap in range(LAPS_A_STEP):
                meter.lap(lap % len(PHASES))
            recorder.step(start, losses)
        recorder.gather(comm)
        spent[k] = (time.perf_counter_ns() - began) / steps / 1e3
    cost = np.median(spent)
    summarise(recording_us=cost)
    label, ratio = "recording a step, a step of 1 ms", f"{cost / 1000:.4f}"
    return table_row(label, f"{cost:.2f} us", yardstick, "1 ms", ratio, rounds)


if __name__ == "__main__":
    sys.exit(main())
