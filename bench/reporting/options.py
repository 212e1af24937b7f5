"""The command line of bench.report, and what of it can be refused before a file is read."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.common.cli import Parser
from bench.common.files import check_target
from bench.common.spec import UserError, unknown_name

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
    from bench.reporting.kinds import KINDS

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
    from bench.reporting.gallery import check_folder

    check_folder(Path(given.figures))
    return list(dict.fromkeys(names))
