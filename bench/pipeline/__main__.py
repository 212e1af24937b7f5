"""Draw a pipeline, plan a cut, measure both: `python -m bench.pipeline --draw 1f1b`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.common.cli import run
from bench.common.files import write_whole
from bench.common.spec import format_spec
from bench.common.summary import summarise
from bench.common.text import printable
from bench.pipeline.options import TABLE
from bench.session import launch

if TYPE_CHECKING:
    from mpi4py import MPI

    from bench.results.claims import Claim

PROGRAM = "bench.pipeline"


def draw(argv: Sequence[str]) -> int:
    """Print the drawing of a command line and write its picture; return the exit code."""
    options = TABLE.read(argv)
    pipeline = options.pipeline()

    from rich.console import Console
    from rich.text import Text

    from algorithms.pipelines import PIPELINES
    from bench.pipeline.drawing import Drawing, svg

    drawing = Drawing(pipeline, options.count(pipeline))
    title = format_spec(pipeline, PIPELINES)
    console = Console(highlight=False, emoji=False)
    width = console.width if console.is_terminal else sys.maxsize
    for pieces in drawing.lines(width):
        line = Text()
        for text, colour in pieces:
            line.append(text, style=f"black on {colour}" if colour else "")
        line.rstrip()
        console.print(line, soft_wrap=True)
    console.print()
    facts = drawing.facts()
    summarise(pipeline=title, facts=facts, files=list(filter(None, [options.picture])))
    for fact in facts:
        console.print(fact, markup=False, soft_wrap=True)
    if options.picture:
        write_whole(Path(options.picture), svg(drawing, title))
        console.print(printable(f"wrote {options.picture}"), markup=False, soft_wrap=True)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program, --plan and --measure on all ranks of mpirun; return its exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    if any(text.partition("=")[0] in ("--plan", "--measure") for text in arguments):
        return launch.main(argv, TABLE.parser, measure, name=PROGRAM)
    return run(draw, argv, program=PROGRAM)


def measure(comm: MPI.Intracomm, argv: Sequence[str], results: list[Claim]) -> None:
    """Plan the cut of a model, or measure a pipeline; collective. Errors: UserError."""
    options = launch.on_all_ranks(comm, lambda: TABLE.read(argv))

    from bench.pipeline import comparison, planning

    if options.plan:
        planning.plan(comm, options)
    else:
        comparison.compare(comm, options, argv, results)


if __name__ == "__main__":
    sys.exit(main())
