"""Many result files as a table, a CSV and one page: `python -m bench.report runs/`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.results.output import RESULTS, check_target, write_whole
from bench.runtime.cli import Parser
from bench.runtime.spec import UserError

if TYPE_CHECKING:
    from bench.results.digest import Digest

WIDTH = 120
"""Columns of the table where no terminal says otherwise."""


def parser() -> argparse.ArgumentParser:
    """The command line of bench.report."""
    made = Parser(
        prog="python -m bench.report",
        description="Turn many result files into a table on the terminal, a CSV and one page.",
        epilog="Example: python -m bench.report runs/ --html report.html --csv table.csv",
        allow_abbrev=False,
    )
    made.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="a result file, or a folder searched to its depths for *.h5 and *.h5.part "
        "(a run that has not ended); names that begin with a dot are skipped",
    )
    made.add_argument(
        "--html", metavar="FILE", help="write a page with tables and plots; opens without a network"
    )
    made.add_argument("--csv", metavar="FILE", help="write a table with a row a run")
    return made


def find(paths: Sequence[str]) -> list[Path]:
    """The result files that the paths name or hold, each once.

    Errors: UserError for a path that is not there, or where nothing is found.
    """
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise UserError(f"{path} does not exist: name a result file or a folder of them")
        files = (
            [path] if not path.is_dir() else sorted(x for x in path.rglob("*") if _ours(x, path))
        )
        for file in files:
            found.setdefault(file.resolve(), file)
    if not found:
        raise UserError(
            f"no result file (*.h5, *.h5.part) in {', '.join(paths)}: "
            "bench.train writes them into the folder of its --out"
        )
    return list(found.values())


def _ours(file: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return file.name.endswith(RESULTS) and not hidden and file.is_file()


def load_all(files: Sequence[Path]) -> tuple[list[Digest], list[str]]:
    """The runs that can be read, and one line for each file that cannot."""
    from rich.console import Console
    from rich.progress import track

    from bench.results.digest import load
    from bench.results.reader import BrokenFileError

    console = Console(stderr=True)
    runs, broken = [], []
    for file in track(
        files, "reading", console=console, transient=True, disable=not console.is_terminal
    ):
        try:
            runs.append(load(file))
        except BrokenFileError as error:
            broken.append(" ".join(str(error).split()))
    return runs, broken


def show(runs: Sequence[Digest], files: int) -> None:
    """Print the tables."""
    from rich.console import Console

    from bench.results.cases import sections
    from bench.results.tables import notes, plain, terminal, text_tables

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    console.print(f"{len(runs)} of {files} files read" if files > 1 else "1 file read")
    for section in sections(runs):
        console.print(f"\n{plain(section.summary())}", markup=False)
        for table in text_tables(section):
            if table.heading:
                console.print(f"\n{plain(table.heading)}:", markup=False, style="bold")
            console.print(terminal(table))
        console.print()
        for note in notes(section):
            console.print(plain(note), markup=False)


def report(argv: Sequence[str]) -> None:
    """Read, write and print.

    Errors: UserError.
    """
    given = parser().parse_args(argv)
    targets = {"--html": given.html, "--csv": given.csv}
    wanted = {option: Path(name) for option, name in targets.items() if name is not None}
    if len({path.resolve() for path in wanted.values()}) < len(wanted):
        raise UserError(f"--html and --csv are both {given.csv}: name two files")
    for option, path in wanted.items():
        check_target(option, path)
    files = find(given.paths)
    runs, broken = load_all(files)
    try:
        if not runs:
            raise UserError(f"none of {len(files)} files can be read as a result of this suite")
        if "--csv" in wanted:
            from bench.results.tables import frame

            write_whole(wanted["--csv"], frame(runs).to_csv(index=False))
        if "--html" in wanted:
            from bench.results.page import page

            write_whole(wanted["--html"], page(runs, broken))
        show(runs, len(files))
        for path in wanted.values():
            print(f"wrote {path}", flush=True)
    finally:
        for line in broken:
            print(f"left out: {line}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    try:
        report(sys.argv[1:] if argv is None else argv)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
