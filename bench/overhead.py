"""Compare a training step with a plain torch loop, in pairs: `python -m bench.overhead`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from algorithms.meter import OTHER, PHASES, Meter
from bench.results.recorder import Recorder
from bench.results.statistics import median_interval
from bench.runtime import launch, setup
from bench.runtime.binding import keep_freed_memory, use_threads
from bench.runtime.cli import Parser
from bench.runtime.config import TrainConfig
from bench.runtime.spec import UserError

if TYPE_CHECKING:
    from mpi4py import MPI

OPTIMIZER = "sgd:lr=0.1,momentum=0.9"
LAPS_A_STEP = 10
"""More than any algorithm's step needs."""


def parser() -> argparse.ArgumentParser:
    """The command line of bench.overhead."""
    made = Parser(
        prog="python -m bench.overhead",
        description="Alternate our training step with a plain torch loop (torch.optim.SGD, same "
        "model, batch and threads) in one process and print medians with 95 % intervals.",
    )
    made.add_argument("--rounds", type=int, default=200, help="pairs (default: %(default)s)")
    made.add_argument("--batch", type=int, default=16, help="samples (default: %(default)s)")
    made.add_argument("--workers", type=int, default=256, help="virtual (default: %(default)s)")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if {"-h", "--help"} & set(arguments):
        parser().print_help()
        return 0
    return launch.run(lambda comm: compare(comm, parser().parse_args(arguments)), print)


def compare(comm: MPI.Intracomm, options: argparse.Namespace) -> None:
    """Measure and print the table."""
    from bench.runtime.plain import PlainLoop
    from bench.tasks.classifier import Classifier
    from bench.tasks.digits import Digits

    if comm.size > 1 or min(options.rounds, options.batch, options.workers) < 1:
        raise UserError("bench.overhead runs on one rank, without mpirun, with numbers >= 1")
    problem = Digits().load("float32")
    assert isinstance(problem, Classifier)
    (place,), _ = use_threads(comm, 0)
    keep_freed_memory()
    plain = PlainLoop(problem, batch=options.batch, lr=0.1, momentum=0.9)
    one, many = (our_step(comm, workers, options.batch) for workers in (1, options.workers))
    rounds, steps = options.rounds, 20
    single = pairs(lambda: repeat(one, steps), lambda: repeat(plain.step, steps), rounds, steps)
    flock = pairs(many, lambda: repeat(plain.step, options.workers), max(20, rounds // 10))
    cost = recording_us(comm)
    print(
        f"digits, batch {options.batch}, {OPTIMIZER}, {place['threads']} thread(s), medians [95 %]"
    )
    for label, (ours, theirs, ratio) in (
        ("a step of one worker", single),
        (f"a step of {options.workers} workers, {options.workers} plain steps", flock),
        ("recording a step, a step of 1 ms", (f"{cost:.2f} us", "1 ms", f"{cost / 1000:.4f}")),
    ):
        print(f"{label:<36} ours {ours:<27} plain torch {theirs:<30} ratio {ratio}")


def our_step(comm: MPI.Intracomm, workers: int, batch: int) -> Callable[[], None]:
    """One recorded step as bench.train takes it, of so many independent workers on this rank."""
    config = TrainConfig(
        algorithm="local_sgd:period=0",
        partition="iid" if workers == 1 else "iid:size=64",
        optimizer=OPTIMIZER,
        workers=workers,
        batch=batch,
    )
    made = setup.Plan(config, config.parts(), workers, {}, "", Path())
    exchange, trained = setup.workers(comm, made, setup.material(comm, made))
    algorithm = made.parts.algorithm
    state = algorithm.init(exchange, trained)
    meter, recorder = exchange.meter, Recorder(exchange.meter)

    def step() -> None:
        start = meter.start()
        algorithm.step(exchange, trained, state)
        meter.lap(OTHER)
        recorder.step(start, trained.losses)

    return step


def repeat(step: Callable[[], None], times: int) -> None:
    """Call a step so many times."""
    for _ in range(times):
        step()


def pairs(
    ours: Callable[[], None], plain: Callable[[], None], rounds: int, steps: int = 1
) -> tuple[str, str, str]:
    """Median ms of a step on either side and the ratio of pairs with its interval, as text."""
    spent = np.empty((rounds, 2))
    ours()
    plain()
    for k in range(rounds):
        for side, run in enumerate((ours, plain)):
            began = time.perf_counter_ns()
            run()
            spent[k, side] = (time.perf_counter_ns() - began) / steps / 1e6
    (a, a_lo, a_hi), (b, b_lo, b_hi) = (median_interval(column) for column in spent.T)
    ratio, low, high = median_interval(spent[:, 0] / spent[:, 1])
    return (
        f"{a:.3f} ms [{a_lo:.3f}, {a_hi:.3f}]",
        f"{b:.3f} ms [{b_lo:.3f}, {b_hi:.3f}]",
        f"{ratio:.3f} [{low:.3f}, {high:.3f}]",
    )


def recording_us(comm: MPI.Intracomm, steps: int = 100, rounds: int = 200) -> float:
    """Median cost of recording one step, us: its laps, the note, and its part of the gather."""
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
    return float(np.median(spent))


if __name__ == "__main__":
    sys.exit(main())
