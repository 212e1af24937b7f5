"""Time all-reduces against MPI's own, size by size: `mpirun -n P python -m bench.collectives`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.collectives.config import Config
from bench.collectives.options import TABLE, read
from bench.common.spec import UserError
from bench.session import launch

if TYPE_CHECKING:
    from mpi4py import MPI


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code: 1 where a sum was wrong."""
    return launch.main(argv, TABLE.parser, collectives)


def collectives(comm: MPI.Intracomm, argv: Sequence[str], results: list[Path]) -> int:
    """Measure as the command line says; return the exit code; collective."""
    config = launch.on_all_ranks(comm, lambda: read(argv))
    launch.check_launch(os.environ, comm.size, config.ranks)
    wrong = measure(comm, config, argv, results)
    if wrong:
        launch.write_stderr(f"error: {wrong} wrong elements: see the column #wrong")
    return int(wrong > 0)


def measure(comm: MPI.Intracomm, config: Config, argv: Sequence[str], results: list[Path]) -> int:
    """Measure, print and write; return the number of wrong elements, on rank 0; collective.

    The path of the result goes into `results`. Errors: UserError on every rank.
    """
    from bench.collectives import candidates, links, memory, opening
    from bench.collectives.onesize import measure_size
    from bench.collectives.record import Record
    from bench.session.binding import keep_freed_memory, use_threads

    if comm.size < 2:
        raise UserError(
            "an all-reduce needs 2 ranks or more, here is 1: launch with `mpirun -n 2 python -m "
            "bench.collectives`"
        )
    memory.check_memory(comm, config.sizes[-1], config.measured)
    path = opening.place(comm, config)
    keep_freed_memory()
    makers = candidates.makers(comm, config.measured)
    notes = candidates.leave_out(comm, config, makers)
    ranks, flaws = use_threads(comm, 1)
    found = links.measure(comm, [rank["host"] for rank in ranks])
    results.append(path)
    record = None
    if comm.rank == 0:
        record = Record(config, path, argv, ranks, flaws, found)
        record.begin(list(makers), notes)
    for index in range(len(config.sizes)):
        measured = measure_size(comm, config, makers, index, record.tell if record else None)
        if record and measured:
            record.add(measured)
    candidates.finish(comm, makers)
    return record.close() if record else 0


if __name__ == "__main__":
    sys.exit(main())
