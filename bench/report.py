"""Many result files as tables, a CSV and one page: `python -m bench.report runs/`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.results.output import RESULTS, check_target, write_whole
from bench.runtime.cli import Parser
from bench.runtime.spec import UserError, unknown


def parser() -> argparse.ArgumentParser:
    """The command line of bench.report."""
    made = Parser(
        prog="python -m bench.report",
        description="Turn many result files of train, collectives and consensus into tables on "
        "the terminal, a CSV and one page.",
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
    made.add_argument(
        "--csv",
        metavar="FILE",
        help="write a table: a row a run of train, an algorithm and size of collectives, or a "
        "topology of consensus",
    )
    made.add_argument(
        "--only",
        metavar="PROGRAM",
        help="report only the files of train, collectives or consensus; --csv needs it where the "
        "paths hold files of several",
    )
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
            "the programs write them into the folder of their --out"
        )
    return list(found.values())


def _ours(file: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return file.name.endswith(RESULTS) and not hidden and file.is_file()


def program_named(name: str) -> str:
    """The program that --only means. Errors: UserError."""
    from bench.results.kinds import KINDS

    names = {program.removeprefix("bench."): program for program in KINDS}
    if name.removeprefix("bench.") not in names:
        raise unknown("program", name, list(names))
    return names[name.removeprefix("bench.")]


def load_all(files: Sequence[Path], only: str) -> tuple[dict[str, list[Any]], list[str]]:
    """What each kind keeps of its files, by program; and one line for each that cannot be read.

    only: the program whose files are wanted, empty for all.
    """
    from rich.console import Console
    from rich.progress import track

    from bench.results.kinds import KINDS, load
    from bench.results.reader import BrokenFileError

    console = Console(stderr=True)
    loaded: dict[str, list[Any]] = {program: [] for program in KINDS}
    broken = []
    for file in track(
        files, "reading", console=console, transient=True, disable=not console.is_terminal
    ):
        try:
            program, kept = load(file)
            loaded[program].append(kept)
        except BrokenFileError as error:
            broken.append(" ".join(str(error).split()))
    return {x: kept for x, kept in loaded.items() if kept and only in ("", x)}, broken


def only_one(loaded: Mapping[str, Sequence[Any]]) -> None:
    """Refuse to mix rows of several kinds.

    Errors: UserError.
    """
    if len(loaded) > 1:
        counts = ", ".join(f"{len(files)} of {program}" for program, files in loaded.items())
        names = " or ".join(program.removeprefix("bench.") for program in loaded)
        raise UserError(
            f"--csv takes the rows of one program, here are files of several ({counts}): "
            f"choose with --only {names}"
        )


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
    only = program_named(given.only) if given.only else ""
    files = find(given.paths)
    loaded, broken = load_all(files, only)
    try:
        if not loaded:
            raise UserError(
                f"none of {len(files)} files can be read as a result of {only or 'this suite'}"
            )
        make(loaded, broken, wanted, len(files))
    finally:
        for line in broken:
            print(f"left out: {line}", file=sys.stderr)


def make(
    loaded: Mapping[str, Sequence[Any]],
    broken: Sequence[str],
    wanted: Mapping[str, Path],
    files: int,
) -> None:
    """Write what is wanted, print the tables; files: how many were found.

    Errors: UserError.
    """
    from bench.results.kinds import KINDS
    from bench.results.terminal import show

    if "--csv" in wanted:
        only_one(loaded)
        ((program, kept),) = loaded.items()
        write_whole(wanted["--csv"], KINDS[program].frame(kept).to_csv(index=False))
    if "--html" in wanted:
        from bench.results.page import page

        write_whole(wanted["--html"], page(loaded, broken))
    chapters = [x for program, kept in loaded.items() for x in KINDS[program].chapters(kept)]
    show(chapters, sum(map(len, loaded.values())), files)
    for path in wanted.values():
        print(f"wrote {path}", flush=True)


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
