"""Report many result files as tables, files for other programs, figures and one page.

`python -m bench.report runs/`; with --validate it checks the files and writes nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.common.cli import Parser, run
from bench.common.files import check_target, write_whole
from bench.common.options import flag
from bench.common.output import print_error
from bench.common.spec import UserError, unknown_name
from bench.common.text import printable

if TYPE_CHECKING:
    from bench.reporting.chapter import Chapter

ROWS = ("--csv", "--parquet")
"""Options that write rows of a single program."""
FILES = {
    "html": "write a page with tables and charts, usable offline",
    "csv": "write a table with a row per run of train, per algorithm and size of collectives, or "
    "per topology of consensus",
    "parquet": "write the rows of --csv as a Parquet file, with full precision",
    "curves": "write a CSV table with a row per evaluation of every training run and its settings",
    "markdown": "write the conclusions and tables as a Markdown document",
    "json": "write rows, tables and conclusions as JSON; unknown numbers are null",
}
"""Option -> help of each option that writes one file."""
TRAIN = "bench.train"
"""Program with curves."""
FORMATS = ("pdf", "svg", "png")
ENDINGS = {
    "--html": (".html", ".htm"),
    "--csv": (".csv", ".txt"),
    "--parquet": (".parquet", ".pq"),
    "--curves": (".csv", ".txt"),
    "--json": (".json",),
    "--markdown": (".md", ".markdown", ".txt"),
}
"""Endings of the files of each option; other names are free, without an ending of another kind."""
OTHER_ENDINGS = {".pdf", ".svg", ".png", ".xlsx", ".xls", ".docx"}
"""Endings of formats that none of these options writes."""


def parser() -> argparse.ArgumentParser:
    """Return the command line of bench.report."""
    result = Parser(
        prog="python -m bench.report",
        description="Report many result files of train, collectives and consensus as tables on "
        "the terminal, files for other programs, figures and one page.",
        epilog="Example: python -m bench.report runs/ --html report.html --csv table.csv",
        allow_abbrev=False,
    )
    result.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="a result file, or a folder searched recursively for *.h5 and *.h5.part "
        "(a run that has not ended); names with a leading dot are skipped",
    )
    for name, help_ in FILES.items():
        result.add_argument(f"--{name}", metavar="FILE", help=help_)
    result.add_argument(
        "--figures",
        metavar="DIR",
        help="write every chart of the page as a file, with a file of captions",
    )
    result.add_argument(
        "--format",
        metavar="F[,F]",
        help=f"formats of the figures: {', '.join(FORMATS)} (default: {FORMATS[0]})",
    )
    result.add_argument(
        "--only",
        metavar="PROGRAM",
        help="report only the files of train, collectives or consensus; required by --csv and "
        "--parquet if the paths contain files of several programs",
    )
    result.add_argument(
        "--best",
        metavar="OPTION",
        help="keep the best value of a training option in every case, as of optimizer.lr or "
        "algorithm.period (several with commas are chosen together): by the median over seeds of "
        "the metric on the validation split of bench.train --validation",
    )
    result.add_argument(
        "--best-on",
        metavar="SPLIT",
        help="split on which --best chooses, validation (default) or test; a choice on test "
        "flatters the chosen values, which the report says",
    )
    result.add_argument(
        "--validate",
        action="store_true",
        help="only check the files and print a line for each; exit code 1 if any is invalid",
    )
    return result


def program_named(name: str) -> str:
    """Return the program that --only selects. Errors: UserError."""
    from bench.reporting.loading import KINDS

    names = {program.removeprefix("bench."): program for program in KINDS}
    if name.removeprefix("bench.") not in names:
        raise unknown_name("program", name, list(names))
    return names[name.removeprefix("bench.")]


def targets(options: argparse.Namespace) -> dict[str, Path]:
    """Return option -> file; refuse a file that cannot be written before any work.

    Errors: UserError.
    """
    files: dict[str, Path] = {}
    for option in FILES:
        name = getattr(options, option)
        if name is None:
            continue
        for other, path in files.items():
            if path.resolve() == Path(name).resolve():
                raise UserError(f"{other} and --{option} both write {name}: name different files")
        files[f"--{option}"] = Path(name)
    for option, path in files.items():
        check_target(option, path)
        check_ending(option, path)
    return files


def check_ending(option: str, path: Path) -> None:
    """Refuse a file with the ending of another format. Errors: UserError."""
    endings = ENDINGS[option]
    others = OTHER_ENDINGS.union(*ENDINGS.values())
    ending = path.suffix.lower()
    if ending in others - set(endings):
        charts = ending.removeprefix(".")
        hint = f"; --figures DIR --format {charts} writes charts" if charts in FORMATS else ""
        raise UserError(f"{option} {path}: the name must end in {endings[0]}{hint}")


def formats(options: argparse.Namespace) -> list[str]:
    """Return the formats of the figures, each once, after a check of their folder.

    Errors: UserError.
    """
    if options.figures is None:
        if options.format is not None:
            raise UserError("--format requires --figures DIR")
        return []
    names = [x.removeprefix(".") for x in (options.format or FORMATS[0]).lower().split(",")]
    for name in names:
        if name not in FORMATS:
            raise unknown_name("format", name, FORMATS)
    from bench.reporting.export import check_folder

    check_folder(Path(options.figures))
    return list(dict.fromkeys(names))


def only_one(loaded: Mapping[str, Sequence[Any]], option: str) -> tuple[str, Sequence[Any]]:
    """Return the only program among the files, with its files; rows of several are not mixed.

    Errors: UserError.
    """
    if len(loaded) > 1:
        counts = ", ".join(f"{len(files)} of {program}" for program, files in loaded.items())
        names = " or ".join(program.removeprefix("bench.") for program in loaded)
        raise UserError(
            f"{option} writes rows of one program, but the files are of several ({counts}): "
            f"choose with --only {names}"
        )
    return next(iter(loaded.items()))


def report(argv: Sequence[str]) -> int:
    """Read, write and print; return the exit code.

    Errors: UserError.
    """
    options = parser().parse_args(argv)
    from bench.reporting.loading import (
        find,
        load_all,
        notes_on_refusals,
        notes_on_rungs,
        validate,
    )
    from bench.reporting.training.best import fold_best, split_named

    if options.validate:
        for option in (*FILES, "figures", "format", "only", "best", "best_on"):
            if getattr(options, option) is not None:
                raise UserError(f"--validate writes nothing: drop {flag(option)} or --validate")
        return validate(find(options.paths))
    targets_, kinds = targets(options), formats(options)
    split = split_named(options.best, options.best_on)
    only = program_named(options.only) if options.only else ""
    if targets_ or kinds:
        from bench.reporting.documents import allow_any_name

        allow_any_name()
    files = find(options.paths)
    loaded, broken = load_all(files, only)
    broken += notes_on_refusals(options.paths)
    try:
        if not loaded:
            raise UserError(
                f"none of {len(files)} files can be read as a result of {only or 'this suite'}"
            )
        read = sum(map(len, loaded.values()))
        choices = fold_best(loaded, options.best, split) if options.best else []
        make(loaded, broken, targets_, read, len(files), choices)
        if kinds:
            draw(loaded, Path(options.figures), kinds)
    finally:
        for line in broken:
            print_error(f"left out: {line}")
        for line in notes_on_rungs(options.paths):
            print_error(line)
    return 0


def make(
    loaded: Mapping[str, Sequence[Any]],
    broken: Sequence[str],
    targets: Mapping[str, Path],
    read: int,
    files: int,
    choices: Sequence[Chapter],
) -> None:
    """Write the requested files and print the tables.

    read: number of files read among `files`; choices: chapters before those of bench.train.
    Errors: UserError.
    """
    from bench.reporting.loading import KINDS
    from bench.reporting.terminal import read_of, show

    written: dict[str, str | bytes] = {}
    for option in ROWS:
        if option in targets:
            from bench.reporting.documents import csv, parquet

            program, files_of_program = only_one(loaded, option)
            frame = KINDS[program].frame(files_of_program)
            written[option] = csv(frame) if option == "--csv" else parquet(frame)
    if "--html" in targets:
        from bench.reporting.page import page

        written["--html"] = page(loaded, broken, choices)
    chapters = {program: KINDS[program].chapters(some) for program, some in loaded.items()}
    if choices:
        chapters[TRAIN] = [*choices, *chapters[TRAIN]]
    everything = [x for some in chapters.values() for x in some]
    if "--curves" in targets:
        written["--curves"] = curves(loaded)
    if "--markdown" in targets:
        from bench.reporting.documents import markdown_document

        written["--markdown"] = markdown_document(everything, read_of(read, files), broken)
    if "--json" in targets:
        from bench.reporting.documents import json_document

        frames = {program: KINDS[program].frame(some) for program, some in loaded.items()}
        written["--json"] = json_document(frames, chapters, broken)
    for option, text in written.items():
        write_whole(targets[option], text)
    show(everything, read, files)
    for path in targets.values():
        print(printable(f"wrote {path}"), flush=True)


def curves(loaded: Mapping[str, Sequence[Any]]) -> str:
    """Return every evaluation of the training runs as CSV. Errors: UserError."""
    from bench.reporting.documents import csv
    from bench.reporting.evaluations import frame

    if TRAIN not in loaded:
        raise UserError(
            f"--curves writes evaluations of training runs, but the files are of "
            f"{' and '.join(loaded)}: drop --curves or name runs of {TRAIN}"
        )
    rows, unread = frame(loaded[TRAIN])
    for line in unread:
        print_error(f"not in --curves: {line}")
    return csv(rows)


def draw(loaded: Mapping[str, Sequence[Any]], folder: Path, kinds: Sequence[str]) -> None:
    """Write the charts into a folder. Errors: UserError."""
    from bench.reporting.export import CAPTIONS, figure_files, write_figures
    from bench.reporting.loading import KINDS
    from bench.reporting.terminal import progress

    charts = figure_files({x: KINDS[x].chapters(files) for x, files in loaded.items()})
    number = len(charts) * len(kinds)
    for _ in progress(write_figures(charts, folder, kinds), number, "figures drawn"):
        pass
    print(printable(f"wrote {number} figures and {folder / CAPTIONS}"), flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    return run(report, argv)


if __name__ == "__main__":
    sys.exit(main())
