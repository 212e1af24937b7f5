"""Measure how fast gossip agrees over every topology: `mpirun -n P python -m bench.consensus`."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from algorithms.topologies.mixing import ready
from bench.common.files import write_whole
from bench.consensus import table
from bench.consensus.flock import start
from bench.consensus.measure import measure
from bench.consensus.options import TABLE
from bench.consensus.plan import Plan, plan
from bench.results.convergence import flags
from bench.results.convergence import rows as rows_of
from bench.results.rounds import Rounds, RoundsFile, read_rounds
from bench.results.rows import ConsensusRow
from bench.results.schema import COMPLETE
from bench.runtime.opening import add_provenance, origin
from bench.session import launch
from bench.session.binding import keep_freed_memory, use_threads
from bench.session.launch import on_all_ranks
from bench.session.terminal import is_interactive

if TYPE_CHECKING:
    from mpi4py import MPI


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    return launch.main(argv, TABLE.parser, consensus)


def consensus(comm: MPI.Intracomm, argv: Sequence[str], results: list[Path]) -> None:
    """Measure every topology; the path of the result goes into `results`; collective."""
    made = plan(comm, on_all_ranks(comm, lambda: TABLE.read(argv)))
    options, limits = made.options, made.limits
    ranks, flaws = use_threads(comm, 1)
    keep_freed_memory()
    results.append(made.path)
    file = None
    if comm.rank == 0:
        file = open_file(made, ranks, argv, flaws)
        introduce(made, comm.size, flaws)
    bounds = [r * made.workers // comm.size for r in (comm.rank, comm.rank + 1)]
    begin = start(options.seed, made.workers, range(*bounds), options.dimension)
    for topology in made.topologies.values():
        case = measure(comm, topology, begin, limits, total=made.workers, seed=options.seed)
        if file:
            file.add(case)
            row = rows_of(read_rounds(file.part))[-1]
            curves = [case.error, *case.redraws]
            say(table.line(row, curves, picture=is_interactive()))
    if file:
        file.close(COMPLETE, {})
        summarise(made, read_rounds(file.path))
    on_all_ranks(comm, lambda: write_csv(made) if comm.rank == 0 and options.csv else None)


def open_file(
    made: Plan, ranks: list[dict[str, Any]], argv: Sequence[str], flaws: list[str]
) -> RoundsFile:
    """Create the result file with all that is known before the first round; on rank 0."""
    attributes = {
        **origin("bench.consensus", argv, ranks, flaws),
        "case_hash": made.hash,
        "params_json": json.dumps(made.params),
        "seed": made.options.seed,
        "workers": made.workers,
        "dimension": made.options.dimension,
        "tolerance": made.options.tolerance,
        "time_definition": "a round is as long as on its slowest rank; between rounds the ranks "
        "meet and the error is evaluated, untimed",
    }
    return RoundsFile(made.path, len(ranks), attributes, lambda file: add_provenance(file, ranks))


def introduce(made: Plan, ranks: int, flaws: list[str]) -> None:
    """Print what a reader must know, and the heading of the table."""
    options = made.options
    for text in table.introduction(
        made.workers, ranks, options.dimension, options.seed, made.limits, picture=is_interactive()
    ):
        say(text)
    for flaw in flaws:
        say(f"note: {flaw}")
    say(table.HEADING + (" " * 5 + "picture" if is_interactive() else ""))


def summarise(made: Plan, found: Rounds) -> None:
    """Print what came of it."""
    rows = rows_of(found)
    marks = [flags(row, found.curves(i)) for i, row in enumerate(rows)]
    left_out = [] if made.options.topology else [x for x in ready() if x not in made.topologies]
    for text in table.conclusion(rows, marks, left_out, made.limits):
        say(text)
    say(f"{'file':<21}  {found.path}")
    say(f"{'report':<21}  python -m bench.report {found.path} --html report.html")


def write_csv(made: Plan) -> None:
    """Write the rows. Errors: UserError."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(ConsensusRow.columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(row.record() for row in rows_of(read_rounds(made.path)))
    write_whole(Path(made.options.csv), text.getvalue())


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
