"""Train every case of a sweep file in one process: `python -m bench.sweep FILE.toml`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from bench.common.files import RUNGS, check_target
from bench.common.options import Table, option, positional
from bench.common.spec import UserError
from bench.common.summary import summarise
from bench.reporting.export import check_kind
from bench.session import launch
from bench.session.binding import use_threads
from bench.session.signals import EXIT_RESUME

if TYPE_CHECKING:
    from mpi4py import MPI

    from bench.results.claims import Claim
    from bench.sweep.file import SweepFile
    from bench.sweep.plan import Outcome
    from bench.sweep.tuning import History

    Trained: TypeAlias = tuple[dict[str, Outcome | str], bool]

INTERRUPTED = 130
"""Exit code of a program that Ctrl-C ended, by the convention of shells."""


@dataclass(frozen=True)
class Options:
    """The options of bench.sweep."""

    file: str = positional("the sweep, as TOML", "FILE")
    out: str = option("", "folder of the results (default: runs/ and the file's name)", "DIR")
    dry_run: bool = option(False, "print the plan and train nothing")
    no_table: bool = option(False, "end without the table, where a report follows")
    markdown: str = option("", "write the table as Markdown, too", "FILE")
    figure: str = option(
        "",
        "draw the metric against label skew, or learning curves where there are fewer than three "
        "skews, as .svg, .png, .pdf or .html",
        "FILE",
    )
    set: tuple[str, ...] = option(
        (),
        "an option of bench.train that replaces or joins those of the file's top level",
        "NAME=VALUE",
    )
    tune: tuple[str, ...] = option(
        (),
        "choose among values of an option for every case by successive halving on a validation "
        "split; repeated for a grid; eta=N keeps one candidate of N in each rung (default: 3)",
        "NAME=VALUE|VALUE",
    )

    def __post_init__(self) -> None:
        for name in ("markdown", "figure"):
            if self.dry_run and getattr(self, name):
                raise UserError(f"--dry-run trains nothing and writes no --{name}: drop one")

    @property
    def folder(self) -> Path:
        """The folder of the results."""
        return Path(self.out or Path("runs") / Path(self.file).stem)

    @property
    def files(self) -> dict[str, Path]:
        """The table and the figure to write, by option."""
        names = {"--markdown": self.markdown, "--figure": self.figure}
        return {option: Path(name) for option, name in names.items() if name}


TABLE = Table(
    Options,
    prog="python -m bench.sweep",
    description="Train every case of a TOML file, one result file each, then print the table. A "
    "case with a finished result in the folder is not trained again, so a sweep that was stopped "
    "continues where it was. Top-level options are those of bench.train; seeds = N stands for "
    "seeds 0 ... N-1. Lists at the top level and in [axes] are crossed, those of [zip] are taken "
    "in step, [[override]] replaces options `when` a case has some values; skip_refused = true "
    "leaves out the cases that an algorithm refuses. Lists in [tune] are candidates of every case: "
    "they are trained for a few steps, the best third on the validation split three times as long, "
    "and so on; the best one is trained with all steps.",
    epilog="Example: python -m bench.sweep bench/sweeps/table.toml --out runs/table. Exit code: "
    "0, also where runs diverged; 1 where a case failed; 2 for a mistake, reported before the "
    "first case; 85 where SIGTERM or SIGUSR1 ended it: the same command continues.",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    return launch.main(argv, TABLE.parser, sweep, name="bench.sweep")


def sweep(comm: MPI.Intracomm, argv: Sequence[str], results: list[Claim]) -> int:
    """Check every case, train the missing ones, print the table; return the exit code.

    results: receives the claims of the folder and of the running case's result. Collective; the
    exit code is that of rank 0. Errors: UserError on every rank, before the first case.
    """
    from bench.sweep import file

    options = launch.on_all_ranks(comm, lambda: TABLE.read(argv))
    summarise(folder=options.folder)
    path = Path(options.file)
    content = launch.on_all_ranks(comm, lambda: file.read(path, options.set, tune=options.tune))
    return (_tune if content.tune else _train)(comm, content, options, results)


def _train(comm: MPI.Intracomm, content: SweepFile, options: Options, results: list[Claim]) -> int:
    """Train every case once; see `sweep`."""
    from bench.runtime.opening import FOLDER, take_on_root
    from bench.sweep import running
    from bench.sweep.plan import finished_cases, plan

    out, files = options.folder, options.files
    cases = launch.on_all_ranks(comm, lambda: plan(content, comm.size, out))
    runnable = [case for case in cases if not case.refused]
    experiments = {case.hash: case.experiment for case in runnable}
    ranks, _ = use_threads(comm, 0)
    if not options.dry_run:
        take_on_root(comm, results, out / "sweep", "bench.sweep", FOLDER)
    finished, broken = comm.bcast(
        launch.on_all_ranks(
            comm, lambda: finished_cases(out, experiments, ranks) if comm.rank == 0 else ({}, [])
        )
    )
    if options.dry_run:
        if comm.rank == 0:
            running.show_plan(cases, finished)
        return 0
    launch.on_all_ranks(comm, lambda: _check_places(out, files) if comm.rank == 0 else None)
    progress = running.SweepLines(runnable, finished) if comm.rank == 0 else None
    if progress:
        progress.print_line(f"{running.count_cases(cases, finished)}, results in {out}")
        for line in broken:
            progress.print_line(f"note: unreadable result: {line}")
    outcomes, code = _until_signal(
        comm, results, lambda: running.run(comm, runnable, finished, results, progress)
    )
    if code or comm.rank:
        return code
    return running.conclude(cases, outcomes, out, files, show=not options.no_table)


def _tune(comm: MPI.Intracomm, content: SweepFile, options: Options, results: list[Claim]) -> int:
    """Train the candidates of every case rung by rung; see `sweep`."""
    from bench.runtime.opening import FOLDER, take_on_root
    from bench.sweep import candidates, record, tuning, tuning_lines

    tune, out, files = content.tune, options.folder, options.files
    assert tune is not None
    plan = launch.on_all_ranks(comm, lambda: candidates.plan_tuning(content, tune, comm.size, out))
    launch.on_all_ranks(comm, lambda: record.check_folder(out, content.path))
    if not options.dry_run:
        take_on_root(comm, results, out / "sweep", "bench.sweep", FOLDER)
    finished, broken = candidates.results_there(comm, plan.groups, out)
    if options.dry_run:
        if comm.rank == 0:
            tuning_lines.show_plan(plan, content, finished)
        return 0

    def prepare() -> None:
        if comm.rank == 0:
            _check_places(out / RUNGS, files)
            tuning_lines.announce(plan, content, finished, broken, out)

    def save(some: Sequence[History], rung: int) -> None:
        if comm.rank == 0:
            record.write(out, content, some, rung, outcomes)

    launch.on_all_ranks(comm, prepare)
    outcomes: dict[str, Outcome | str] = dict(finished)
    histories = [tuning.History(group, []) for group in plan.groups]
    for rung in range(tune.rungs):
        histories = tuning.enter(comm, rung, tune, histories, outcomes)
        launch.on_all_ranks(comm, partial(save, histories, rung))
        train = partial(tuning.train_rung, comm, tune, histories, out, finished, results)
        trained, code = _until_signal(comm, results, train)
        if code:
            return code
        outcomes.update(trained)
    if comm.rank:
        return 0
    show = not options.no_table
    return tuning_lines.conclude(plan, content, histories, outcomes, out, files, show=show)


def _until_signal(
    comm: MPI.Intracomm, results: list[Claim], train: Callable[[], Trained]
) -> tuple[dict[str, Outcome | str], int]:
    """Return the outcomes of some cases and 0, or the exit code if a signal ended them."""
    try:
        outcomes, stopped = train()
    except KeyboardInterrupt:
        if comm.size > 1:  # the others wait for this rank in a collective call
            raise
        launch.mark_failed(results, "interrupted")
        launch.write_stderr("interrupted: finished cases are kept, the same command continues")
        return {}, INTERRUPTED
    if stopped and comm.rank == 0:
        launch.write_stderr("stopped: finished cases are kept, the same command continues")
    return outcomes, EXIT_RESUME if stopped else 0


def _check_places(out: Path, files: dict[str, Path]) -> None:
    """Make the folder of the results and check the places of table and figure.

    Errors: UserError.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"--out {out} cannot be made ({error.strerror}): name another folder"
        ) from None
    for name, path in files.items():
        check_target(name, path)
        if name == "--figure":
            check_kind(name, path)


if __name__ == "__main__":
    sys.exit(main())
