"""Show how a partition separates the data, before training: `python -m bench.partition`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bench.common.cli import Parser
from bench.common.files import check_target, write_whole
from bench.reporting.export import check_kind
from bench.runtime import setup
from bench.runtime.checks import check
from bench.runtime.config import TrainConfig
from bench.session import launch

if TYPE_CHECKING:
    from mpi4py import MPI

    from bench.runtime.separation import Separation

WORKERS = 16
OPTIONS = ("task", "data", "partition", "algorithm", "batch", "seed", "dtype")
"""Options of bench.train that say how the data are separated, and who hears of whom."""


def parser() -> argparse.ArgumentParser:
    """The command line of bench.partition."""
    made = Parser(
        prog="python -m bench.partition",
        description="Separate the data of a task as bench.train would, and show how different the "
        "shards are: sizes, labels, features, gradients at the start, and the neighbourhoods of "
        "the topology of --algorithm. Nothing is trained.",
        epilog="Example: python -m bench.partition --task digits --partition dirichlet:alpha=0.1 "
        "--workers 16 --picture skew.png",
        allow_abbrev=False,
    )
    known = TrainConfig.__dataclass_fields__
    for name in OPTIONS:
        option = known[name]
        default = f" (default: {option.default})" if option.default not in ("", None) else ""
        made.add_argument(
            f"--{name}",
            metavar=option.metadata["metavar"],
            type=type(option.default),
            default=option.default,
            help=option.metadata["help"] + default,
        )
    made.add_argument(
        "--workers", type=int, default=WORKERS, metavar="W", help=f"(default: {WORKERS})"
    )
    made.add_argument(
        "--picture", metavar="FILE", help="draw classes x workers, as .png, .svg, .pdf or .html"
    )
    made.add_argument("--csv", metavar="FILE", help="write the measures, a row a worker")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    return launch.main(argv, parser, lambda comm, arguments, _: show(comm, arguments))


def show(comm: MPI.Intracomm, argv: Sequence[str]) -> None:
    """Separate and measure; rank 0 tells; collective. Errors: UserError on every rank."""
    given = launch.on_all_ranks(comm, lambda: parser().parse_args(argv))
    plan = launch.on_all_ranks(comm, lambda: _planned(given, comm.size))
    files = {"--picture": given.picture, "--csv": given.csv}
    wanted = {option: Path(name) for option, name in files.items() if name}
    launch.on_all_ranks(comm, lambda: _places(wanted) if comm.rank == 0 else None)

    from bench.runtime.evaluation import Evaluation
    from bench.runtime.separation import separation

    data = setup.material(comm, plan)
    with ExitStack() as stack:
        exchange, workers = setup.workers(comm, plan, data)
        stack.enter_context(launch.closing(exchange))
        evaluation = Evaluation(comm, data.problem, plan.workers, workers.x)
        stack.enter_context(launch.closing(evaluation))
        measured = separation(comm, plan, data, exchange, workers, evaluation)
    if comm.rank == 0:
        tell(plan, data, measured, wanted)


def tell(
    plan: setup.Plan, data: setup.Material, measured: Separation, wanted: dict[str, Path]
) -> None:
    """Print the measures and the map, write the files that are wanted. Errors: UserError."""
    from bench.reporting import partition_view
    from bench.session.terminal import PipeSafeConsole

    console = PipeSafeConsole(highlight=False, emoji=False)
    names = list(data.problem.names)
    task, text = (plan.parts.texts()[name] for name in ("task", "partition"))
    console.print(
        f"{task}: {data.problem.samples.size:,} training samples, {plan.workers:,} workers",
        markup=False,
        soft_wrap=True,
    )
    for line in measured.told(text):
        console.print(line, markup=False, soft_wrap=True)
    partition_view.show(console, measured.skew.counts, names)
    columns = {name: values for name, (values, _) in measured.columns().items()}
    if "--csv" in wanted:
        write_whole(wanted["--csv"], partition_view.csv(columns, measured.skew.counts))
        console.print(f"wrote {wanted['--csv']}", markup=False)
    if "--picture" in wanted:
        from bench.reporting.export import save

        title = f"{task}, {text}, {plan.workers} workers"
        save(partition_view.picture(measured.skew.counts, names, title), wanted["--picture"])
        console.print(f"wrote {wanted['--picture']}", markup=False)


def _planned(given: argparse.Namespace, ranks: int) -> setup.Plan:
    """A run of bench.train that leaves no result. Errors: UserError."""
    config = TrainConfig(workers=given.workers, **{name: getattr(given, name) for name in OPTIONS})
    return setup.Plan(config, config.parts(), check(config, ranks), {}, "", Path())


def _places(wanted: dict[str, Path]) -> None:
    for option, path in wanted.items():
        check_target(option, path)
        if option == "--picture":
            check_kind(option, path)


if __name__ == "__main__":
    sys.exit(main())
