"""Show how a partition separates the data, before training: `python -m bench.partition`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from bench.common.files import check_target, write_whole
from bench.common.options import Table, check_ranges, option, same
from bench.common.summary import summarise
from bench.common.text import counted, printable
from bench.runtime.options import TrainOptions
from bench.session import launch

if TYPE_CHECKING:
    from mpi4py import MPI

    from bench.runtime import setup
    from bench.runtime.experiment import Experiment
    from bench.runtime.separation import Separation


@dataclass(frozen=True)
class Options:
    """The options of bench.partition: those of bench.train that separate the data, and output."""

    task: str = same(TrainOptions, "task")
    data: str = same(TrainOptions, "data")
    partition: str = same(TrainOptions, "partition")
    algorithm: str = same(TrainOptions, "algorithm")
    batch: int = same(TrainOptions, "batch")
    seed: int = same(TrainOptions, "seed")
    dtype: str = same(TrainOptions, "dtype")
    workers: int = option(16, "workers in all", "W", least=1)
    picture: str = option("", "draw classes x workers, as .png, .svg, .pdf or .html", "FILE")
    csv: str = option("", "write the measures, one row per worker", "FILE")

    def __post_init__(self) -> None:
        check_ranges(self)

    @property
    def training(self) -> TrainOptions:
        """The options of the run whose data are separated."""
        names = {x.name for x in fields(self)} - {"picture", "csv"}
        return TrainOptions(**{name: getattr(self, name) for name in names})

    @property
    def files(self) -> dict[str, Path]:
        """The files to write, by option."""
        names = {"--picture": self.picture, "--csv": self.csv}
        return {option: Path(name) for option, name in names.items() if name}


TABLE = Table(
    Options,
    prog="python -m bench.partition",
    description="Separate the data of a task as bench.train would, and show how different the "
    "shards are: sizes, labels, features, gradients at the start, and the neighbourhoods of the "
    "topology of --algorithm. Nothing is trained.",
    epilog="Example: python -m bench.partition --task digits --partition dirichlet:alpha=0.1 "
    "--workers 16 --picture skew.png",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    return launch.main(
        argv,
        TABLE.parser,
        lambda comm, arguments, _: show(comm, arguments),
        name="bench.partition",
    )


def show(comm: MPI.Intracomm, argv: Sequence[str]) -> None:
    """Separate and measure the data; rank 0 prints; collective. Errors: UserError on every rank."""
    from bench.runtime import setup, start

    options = launch.on_all_ranks(comm, lambda: TABLE.read(argv))
    experiment = launch.on_all_ranks(comm, lambda: _checked(options, comm.size))
    launch.on_all_ranks(comm, lambda: _check_files(options.files) if comm.rank == 0 else None)

    from bench.runtime.evaluation import Evaluation
    from bench.runtime.separation import separation

    data = setup.material(comm, experiment)
    with ExitStack() as stack:
        exchange, workers = start.workers(comm, experiment, data)
        stack.enter_context(launch.closing(exchange))
        evaluation = Evaluation(comm, data.problem, experiment.placement, workers.x)
        stack.enter_context(launch.closing(evaluation))
        measured = separation(comm, experiment, data, exchange, workers, evaluation)
    if comm.rank == 0:
        report(experiment, data, measured, options.files)


def report(
    experiment: Experiment, data: setup.Material, measured: Separation, files: dict[str, Path]
) -> None:
    """Print the measures and the map of classes, and write the files. Errors: UserError."""
    from rich.console import Console

    from bench.reporting import partition_view

    console = Console(highlight=False, emoji=False)
    names = list(data.problem.names)
    task, text = (experiment.texts[name] for name in ("task", "partition"))
    console.print(
        printable(
            f"{task}: {counted(data.problem.samples.size, 'training sample')}, "
            f"{counted(experiment.workers, 'worker')}"
        ),
        markup=False,
        soft_wrap=True,
    )
    summary = data.problem.summary
    read = [summary.line] if summary.line else []
    notes = [f"note: {note}" for note in summary.notes]
    for line in [*read, *measured.lines(text), *notes]:
        console.print(printable(line), markup=False, soft_wrap=True)
    partition_view.show(console, measured.skew.counts, names)
    columns = {name: values for name, (values, _) in measured.columns().items()}
    counts = {f"class_{c}": values for c, values in enumerate(measured.skew.counts.T)}
    cells = {"worker": range(experiment.workers), **columns, **counts}
    rows = [dict(zip(cells, values, strict=True)) for values in zip(*cells.values(), strict=True)]
    summarise(
        task=task, partition=text, rows=rows, files=list(files.values()), **measured.summary()
    )
    if "--csv" in files:
        write_whole(files["--csv"], partition_view.csv(columns, measured.skew.counts))
        console.print(printable(f"wrote {files['--csv']}"), markup=False, soft_wrap=True)
    if "--picture" in files:
        from bench.reporting.export import save

        title = f"{task}, {text}, {counted(experiment.workers, 'worker')}"
        save(partition_view.picture(measured.skew.counts, names, title), files["--picture"])
        console.print(printable(f"wrote {files['--picture']}"), markup=False, soft_wrap=True)


def _checked(options: Options, ranks: int) -> Experiment:
    """Return the experiment whose data are separated. Errors: UserError."""
    from bench.runtime.experiment import Experiment

    launch.check_launch(os.environ, ranks, 0)
    experiment = Experiment.resolve(options.training, ranks)
    experiment.check()
    return experiment


def _check_files(files: dict[str, Path]) -> None:
    from bench.reporting.export import check_kind

    for name, path in files.items():
        check_target(name, path)
        if name == "--picture":
            check_kind(name, path)


if __name__ == "__main__":
    sys.exit(main())
