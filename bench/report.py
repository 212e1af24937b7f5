"""Many result files as tables, files for other programs, figures and one page.

`python -m bench.report runs/`; with --validate it checks the files and writes nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.common.cli import run
from bench.common.files import write_whole
from bench.common.spec import UserError
from bench.reporting.finding import find
from bench.reporting.options import FILES, formats, parser, program_named, targets

__all__ = ["find", "load_all", "main"]

ROWS = ("--csv", "--parquet")
"""Options whose rows are those of one program."""


def load_all(files: Sequence[Path], only: str) -> tuple[dict[str, list[Any]], list[str]]:
    """What each kind keeps of its files, by program; and one line for each that cannot be read.

    only: the program whose files are wanted, empty for all.
    """
    from bench.reporting.kinds import KINDS, load
    from bench.reporting.loading import readings
    from bench.reporting.progress import told
    from bench.results.reader import BrokenFileError

    loaded: dict[str, list[Any]] = {program: [] for program in KINDS}
    broken = []
    with closing(readings(files, load)) as answers:
        for answer in told(answers, len(files), "files read"):
            if isinstance(answer, BrokenFileError):
                broken.append(" ".join(str(answer).split()))
            else:
                loaded[answer[0]].append(answer[1])
    return {x: kept for x, kept in loaded.items() if kept and only in ("", x)}, broken


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
    from bench.reporting.kinds import KINDS
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
        from bench.reporting.markdown import document

        written["--markdown"] = document(chapters, read_of(read, files), broken)
    for option, text in written.items():
        write_whole(wanted[option], text)
    show(chapters, read, files)
    for path in wanted.values():
        print(f"wrote {path}", flush=True)


def draw(loaded: Mapping[str, Sequence[Any]], folder: Path, kinds: Sequence[str]) -> None:
    """Write the charts into a folder. Errors: UserError."""
    from bench.reporting.gallery import CAPTIONS, hang, plates
    from bench.reporting.progress import told

    made = plates(loaded)
    number = len(made) * len(kinds)
    for _ in told(hang(made, folder, kinds), number, "figures drawn"):
        pass
    print(f"wrote {number} figures and {folder / CAPTIONS}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    return run(report, argv)


if __name__ == "__main__":
    sys.exit(main())
