"""Draw a result file as a timeline for Perfetto: `python -m bench.trace RUN.h5 -o trace.json`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.common.cli import Parser, run
from bench.common.files import check_target
from bench.common.spec import UserError
from bench.common.summary import summarise

if TYPE_CHECKING:
    from bench.trace.chrome import Drawing

MOST_BYTES = 1_000_000_000
"""Maximum size of a trace before compression, B: browsers cannot open larger ones."""
ENDINGS = (".json", ".json.gz")
VIEWER = "https://ui.perfetto.dev"


def parser() -> argparse.ArgumentParser:
    """Return the command line of bench.trace."""
    result = Parser(
        prog="python -m bench.trace",
        description="Draw a result file as a timeline of all ranks on one clock: the steps, "
        "phases, messages, counters and evaluations of bench.train, or the calls of "
        f"bench.collectives. Open it with {VIEWER} or chrome://tracing.",
        epilog="Example: mpirun -n 4 python -m bench.train --steps 200 --trace 20 --out runs; "
        "python -m bench.trace runs/RUN.h5 -o trace.json",
        allow_abbrev=False,
        summarises=True,
    )
    result.add_argument(
        "file", metavar="RUN.h5", help="a result file, closed or still being written"
    )
    result.add_argument(
        "-o",
        "--out",
        required=True,
        metavar="FILE",
        help=f"output file; its name must end in {' or '.join(ENDINGS)}",
    )
    result.add_argument(
        "--steps",
        metavar="A:B",
        help="draw only these steps, or calls of bench.collectives: 0:100 (excludes 100), 50:, 7",
    )
    result.add_argument("--ranks", metavar="R", help="draw only these ranks: 0,3,5 or 0:8")
    return result


def check_ending(option: str, path: Path) -> None:
    """Refuse a file name that viewers do not support. Errors: UserError."""
    if not path.name.endswith(ENDINGS):
        raise UserError(f"{option} {path}: must end in {' or '.join(ENDINGS)}")


def draw_file(path: Path, ranks: str | None, steps: str | None) -> Drawing:
    """Return the drawing of a result file.

    Errors: UserError, BrokenFileError.
    """
    from bench.results.provenance import derive_from, program_of
    from bench.trace import calls, training

    if not path.is_file():
        raise UserError(
            f"{path} is not a file: name a result file of bench.train or bench.collectives"
        )
    kinds = {"bench.train": training.drawing, "bench.collectives": calls.drawing}
    program = program_of(path)
    if program not in kinds:
        raise UserError(
            f"{path} was written by {program!r}, which records no clock times: name a result file "
            f"of {' or '.join(kinds)}"
        )
    return derive_from(path, lambda: kinds[program](path, ranks, steps))


def trace(argv: Sequence[str]) -> int:
    """Draw a result file as the command line says; return the exit code.

    Errors: UserError.
    """
    options = parser().parse_args(argv)
    from bench.common.text import printable
    from bench.results.reader import BrokenFileError
    from bench.trace.chrome import write

    target = Path(options.out)
    check_ending("--out", target)
    check_target("--out", target)
    try:
        drawing = draw_file(Path(options.file), options.ranks, options.steps)
    except BrokenFileError as error:
        raise UserError(str(error)) from None
    if drawing.nbytes > MOST_BYTES:
        raise UserError(
            f"a trace of {drawing.what} would take about {drawing.nbytes / 1e9:.1f} GB; browsers "
            f"open at most {MOST_BYTES / 1e9:.0f} GB: select fewer with --steps A:B or --ranks A:B"
        )
    about = drawing.about | {"notes": "; ".join(drawing.notes)}
    events = write(target, about, drawing.lines)
    for note in drawing.notes:
        print(f"note: {printable(note)}")
    size = target.stat().st_size / 1e6
    summarise(file=target, events=events, seconds=drawing.seconds, notes=drawing.notes)
    what = f"{drawing.what}, {drawing.seconds:.3g} s, {events:,} events, {size:.3g} MB"
    print(printable(f"wrote {target}: {what}"))
    print(f"open it at {VIEWER}: the page reads the file locally and uploads nothing", flush=True)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    return run(trace, argv, acts=True, program="bench.trace")


if __name__ == "__main__":
    sys.exit(main())
