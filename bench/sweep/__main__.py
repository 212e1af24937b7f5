"""Train every case of a sweep file in one process: `python -m bench.sweep FILE.toml`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.common.cli import Parser
from bench.common.files import check_target
from bench.common.spec import UserError
from bench.reporting.export import check_kind
from bench.session import launch
from bench.session.signals import EXIT_RESUME

if TYPE_CHECKING:
    from mpi4py import MPI

INTERRUPTED = 130
"""The exit code that shells give to Ctrl-C."""


def parser() -> argparse.ArgumentParser:
    """The command line of bench.sweep."""
    made = Parser(
        prog="python -m bench.sweep",
        description="Train every case of a TOML file, one result file each, then print the table. "
        "A case whose result lies in the folder is not trained again, so a sweep that was ended "
        "goes on where it was. Top-level options are those of bench.train, seeds = N stands for "
        "seeds 0 ... N-1; lists at the top level and in [axes] are crossed, those of [zip] taken "
        "in step, [[override]] has options that replace others `when` a case has some values; "
        "skip_refused = true leaves out what an algorithm refuses.",
        epilog="Example: python -m bench.sweep bench/sweeps/table.toml --out runs/table. Exit "
        "code: 0, also where runs diverged; 1 where a case failed; 2 for a mistake, found before "
        "the first case; 85 where SIGTERM or SIGUSR1 ended it: the same command goes on.",
        allow_abbrev=False,
    )
    made.add_argument("file", metavar="FILE", help="the sweep, as TOML")
    made.add_argument(
        "--out", metavar="DIR", help="folder of the results (default: runs/ and the file's name)"
    )
    made.add_argument("--dry-run", action="store_true", help="print the plan, train nothing")
    made.add_argument("--markdown", metavar="FILE", help="write the table as Markdown, too")
    made.add_argument(
        "--figure",
        metavar="FILE",
        help="draw the metric against label skew, or learning curves where there are fewer than "
        "three skews, as .svg, .png, .pdf or .html",
    )
    made.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of bench.train that replaces or joins those of the file's top level",
    )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    return launch.main(argv, parser, sweep)


def sweep(comm: MPI.Intracomm, argv: Sequence[str], results: list[Path]) -> int:
    """Check everything, train what is not there yet, print the table; return the exit code.

    The path of the running case's result lies in `results`. Collective; the code is rank 0's.
    Errors: UserError on every rank, before the first case.
    """
    from bench.sweep import file, running
    from bench.sweep.plan import plan, standing

    given = launch.on_all_ranks(comm, lambda: _read(argv))
    path = Path(given.file)
    out = Path(given.out or Path("runs") / path.stem)
    cases = launch.on_all_ranks(comm, lambda: plan(file.read(path, given.set), comm.size, out))
    runnable = [case for case in cases if not case.refused]
    wanted = {case.hash for case in runnable}
    there, broken = comm.bcast(
        launch.on_all_ranks(comm, lambda: standing(out, wanted) if comm.rank == 0 else ({}, []))
    )
    if given.dry_run:
        if comm.rank == 0:
            running.show_plan(cases, there)
        return 0
    wanted_files = {"--markdown": given.markdown, "--figure": given.figure}
    files = {option: Path(name) for option, name in wanted_files.items() if name}
    launch.on_all_ranks(comm, lambda: _places(out, files) if comm.rank == 0 else None)
    teller = running.Teller(runnable, there) if comm.rank == 0 else None
    if teller:
        teller.print_line(f"{running.counted(cases, there)}, results in {out}")
        for line in broken:
            teller.print_line(f"note: no result to keep: {line}")
    try:
        ended, again = running.run(comm, runnable, there, results, teller)
    except KeyboardInterrupt:
        if comm.size > 1:  # the others wait for this rank in a collective call
            raise
        launch.mark_failed(results, "interrupted")
        launch.write_stderr(
            "interrupted: what has ended is kept, the same command goes on from here"
        )
        return INTERRUPTED
    if again:
        if comm.rank == 0:
            launch.write_stderr(
                "asked to end: what has ended is kept, the same command goes on from here"
            )
        return EXIT_RESUME
    return running.conclude(cases, ended, out, files) if comm.rank == 0 else 0


def _read(argv: Sequence[str]) -> argparse.Namespace:
    given = parser().parse_args(argv)
    for option in ("markdown", "figure"):
        if given.dry_run and getattr(given, option):
            raise UserError(
                f"--dry-run trains nothing, so there is nothing for --{option}: drop one"
            )
    return given


def _places(out: Path, files: dict[str, Path]) -> None:
    """Make the folder of the results, which may be the place of table and figure as well."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"--out {out} cannot be made ({error.strerror}): name another folder"
        ) from None
    for option, path in files.items():
        check_target(option, path)
        if option == "--figure":
            check_kind(option, path)


if __name__ == "__main__":
    sys.exit(main())
