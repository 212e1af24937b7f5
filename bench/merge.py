"""Merge the files of a run with several writers: `python -m bench.merge RUN.h5`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.common.cli import Parser, run
from bench.common.spec import UserError
from bench.common.summary import summarise_row
from bench.common.text import counted, printable
from bench.runtime.writers import parts_of


def parser() -> argparse.ArgumentParser:
    """Return the command line of bench.merge."""
    result = Parser(
        prog="python -m bench.merge",
        description="Merge the files that `bench.train --writers node` or `--writers rank` wrote "
        "for every node or rank into one result file, which reports can read.",
        epilog="Example: python -m bench.merge runs/wide.h5",
        allow_abbrev=False,
        summarises=True,
    )
    result.add_argument(
        "results",
        nargs="+",
        metavar="RUN.h5",
        help="result file of rank 0, or its .part if the run was killed; the parts are beside it",
    )
    result.add_argument("--keep", action="store_true", help="keep the parts")
    return result


def merge_result(result: Path, keep: bool) -> str:
    """Merge one result; return the message to print.

    Errors: UserError.
    """
    from rich.console import Console
    from rich.progress import Progress

    from bench.results.merging import MergeError, merge
    from bench.results.pages import spare_of
    from bench.results.reader import BrokenFileError
    from bench.runtime.opening import holding, take

    if result.is_dir():
        raise UserError(f"{result} is a folder: name the result file of a run in it")
    if not result.is_file():
        raise UserError(f"{result} does not exist: name the result file of a run")
    whole = result.with_name(result.name.removesuffix(".part"))
    parts = parts_of(whole)
    if not parts:
        raise UserError(
            f"{result} has no parts beside it ({result.name}.rank...), so there is nothing to merge"
        )
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(result.name, total=None)

        def report(rows: int, total: int) -> None:
            progress.update(bar, completed=rows, total=total)

        with holding(take(whole, "bench.merge")):
            try:
                steps = merge(result, parts, report)
            except (MergeError, BrokenFileError) as error:
                raise UserError(str(error)) from None
            for part in () if keep else parts:
                part.unlink()
                spare_of(part).unlink(missing_ok=True)  # of a killed run
    outcome = "kept" if keep else "removed"
    return (
        f"{result}: merged {counted(steps, 'step')} of {len(parts) + 1} files, {outcome} the parts"
    )


def merge_each(argv: Sequence[str]) -> int:
    """Merge every named result; return the exit code. Errors: UserError."""
    options = parser().parse_args(argv)
    for name in options.results:
        print(printable(merge_result(Path(name), options.keep)))
        summarise_row(file=name.removesuffix(".part"))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    return run(merge_each, argv, acts=True, program="bench.merge")


if __name__ == "__main__":
    sys.exit(main())
