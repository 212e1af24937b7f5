"""Many result files as tables, files for other programs, figures and one page.

`python -m bench.report runs/`; with --validate it checks the files and writes nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.common.cli import Parser, run
from bench.common.files import check_target, write_whole
from bench.common.spec import UserError, unknown_name

ROWS = ("--csv", "--parquet")
"""Options whose rows are those of one program."""


def validate(files: Sequence[Path]) -> int:
    """Tell of each file whether it is what the format says; return the exit code."""
    from bench.common.text import printable
    from bench.reporting.loading import readings
    from bench.results.validation import flaws

    flawed = 0
    with closing(readings(files, flaws)) as answers:
        for file, answer in zip(files, answers, strict=True):
            found = [str(answer)] if isinstance(answer, Exception) else answer
            flawed += bool(found)
            for flaw in found:
                print(printable(f"{file}: {flaw.removeprefix(f'{file}: ')}"))
            if not found:
                print(printable(f"valid: {file}"))
    print(f"{len(files) - flawed} of {len(files)} files are valid")
    return 1 if flawed else 0


def only_one(loaded: Mapping[str, Sequence[Any]], option: str) -> tuple[str, Sequence[Any]]:
    """The program whose files are there, and they: rows of several are not mixed.

    Errors: UserError.
    """
    if len(loaded) > 1:
        counts = ", ".join(f"{len(files)} of {program}" for program, files in loaded.items())
        names = " or ".join(program.removeprefix("bench.") for program in loaded)
        raise UserError(
            f"{option} takes the rows of one program, here are files of several ({counts}): "
            f"choose with --only {names}"
        )
    return next(iter(loaded.items()))


def report(argv: Sequence[str]) -> int:
    """Read, write and print; return the exit code.

    Errors: UserError.
    """
    given = parser().parse_args(argv)
    from bench.reporting.loading import find, load_all

    if given.validate:
        for option in (*FILES, "figures", "format", "only"):
            if getattr(given, option) is not None:
                raise UserError(f"--validate only checks: leave out --{option}, or --validate")
        return validate(find(given.paths))
    wanted, kinds = targets(given), formats(given)
    only = program_named(given.only) if given.only else ""
    if wanted or kinds:
        from bench.reporting.export import allow_any_name

        allow_any_name()
    files = find(given.paths)
    loaded, broken = load_all(files, only)
    try:
        if not loaded:
            raise UserError(
                f"none of {len(files)} files can be read as a result of {only or 'this suite'}"
            )
        make(loaded, broken, wanted, len(files))
        if kinds:
            draw(loaded, Path(given.figures), kinds)
    finally:
        from bench.common.text import printable

        for line in broken:
            print(printable(f"left out: {line}"), file=sys.stderr)
    return 0


def make(
    loaded: Mapping[str, Sequence[Any]],
    broken: Sequence[str],
    wanted: Mapping[str, Path],
    files: int,
) -> None:
    """Write what is wanted, print the tables; files: how many were found.

    Errors: UserError.
    """
    from bench.reporting.loading import KINDS
    from bench.reporting.terminal import read_of, show

    read = sum(map(len, loaded.values()))
    written: dict[str, str | bytes] = {}
    for option in ROWS:
        if option in wanted:
            from bench.reporting.export import csv, parquet

            program, kept = only_one(loaded, option)
            frame = KINDS[program].frame(kept)
            written[option] = csv(frame) if option == "--csv" else parquet(frame)
    if "--html" in wanted:
        from bench.reporting.page import page

        written["--html"] = page(loaded, broken)
    chapters = [x for program, kept in loaded.items() for x in KINDS[program].chapters(kept)]
    if "--markdown" in wanted:
        from bench.reporting.export import document

        written["--markdown"] = document(chapters, read_of(read, files), broken)
    for option, text in written.items():
        write_whole(wanted[option], text)
    show(chapters, read, files)
    for path in wanted.values():
        print(f"wrote {path}", flush=True)


def draw(loaded: Mapping[str, Sequence[Any]], folder: Path, kinds: Sequence[str]) -> None:
    """Write the charts into a folder. Errors: UserError."""
    from bench.reporting.export import CAPTIONS, hang, plates
    from bench.reporting.loading import KINDS
    from bench.reporting.terminal import told

    made = plates({x: KINDS[x].chapters(kept) for x, kept in loaded.items()})
    number = len(made) * len(kinds)
    for _ in told(hang(made, folder, kinds), number, "figures drawn"):
        pass
    print(f"wrote {number} figures and {folder / CAPTIONS}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    return run(report, argv)


if __name__ == "__main__":
    sys.exit(main())


FILES = {
    "html": "write a page with tables and plots; opens without a network",
    "csv": "write a table: a row a run of train, an algorithm and size of collectives, or a "
    "topology of consensus",
    "parquet": "write the rows of --csv as a Parquet file, numbers as they are",
    "markdown": "write the tables of the terminal as a document",
}
"""What is written into one file each, by option."""
FORMATS = ("pdf", "svg", "png")


def parser() -> argparse.ArgumentParser:
    """The command line of bench.report."""
    made = Parser(
        prog="python -m bench.report",
        description="Turn many result files of train, collectives and consensus into tables on "
        "the terminal, files for other programs, figures and one page.",
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
    for name, said in FILES.items():
        made.add_argument(f"--{name}", metavar="FILE", help=said)
    made.add_argument(
        "--figures",
        metavar="DIR",
        help="write every chart of the page as a file for a paper, and their captions",
    )
    made.add_argument(
        "--format",
        metavar="F[,F]",
        help=f"of the figures: {', '.join(FORMATS)}, or several (default {FORMATS[0]})",
    )
    made.add_argument(
        "--only",
        metavar="PROGRAM",
        help="report only the files of train, collectives or consensus; --csv and --parquet need "
        "it where the paths hold files of several",
    )
    made.add_argument(
        "--validate",
        action="store_true",
        help="only check the files: a line a file; exit code 1 where one has a flaw",
    )
    return made


def program_named(name: str) -> str:
    """The program that --only means. Errors: UserError."""
    from bench.reporting.loading import KINDS

    names = {program.removeprefix("bench."): program for program in KINDS}
    if name.removeprefix("bench.") not in names:
        raise unknown_name("program", name, list(names))
    return names[name.removeprefix("bench.")]


def targets(given: argparse.Namespace) -> dict[str, Path]:
    """Option -> the file that it names; refused early where one cannot be written.

    Errors: UserError.
    """
    wanted: dict[str, Path] = {}
    for option in FILES:
        name = getattr(given, option)
        if name is None:
            continue
        for other, path in wanted.items():
            if path.resolve() == Path(name).resolve():
                raise UserError(f"{other} and --{option} are both {name}: name two files")
        wanted[f"--{option}"] = Path(name)
    for option, path in wanted.items():
        check_target(option, path)
    return wanted


def formats(given: argparse.Namespace) -> list[str]:
    """The formats of the figures, each once; where there are to be any, a place for them.

    Errors: UserError.
    """
    if given.figures is None:
        if given.format is not None:
            raise UserError("--format is that of the figures: give --figures DIR, too")
        return []
    names = [x.removeprefix(".") for x in (given.format or FORMATS[0]).lower().split(",")]
    for name in names:
        if name not in FORMATS:
            raise unknown_name("format", name, FORMATS)
    from bench.reporting.export import check_folder

    check_folder(Path(given.figures))
    return list(dict.fromkeys(names))
