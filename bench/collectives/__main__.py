"""Time collectives against MPI's own, size by size: `mpirun -n P python -m bench.collectives`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.collectives.config import Config, result_path
from bench.collectives.options import TABLE, read
from bench.common.spec import UserError
from bench.common.summary import summarise_results
from bench.common.text import printable
from bench.session import launch

if TYPE_CHECKING:
    from mpi4py import MPI

    from bench.results.claims import Claim


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code, 1 after a wrong sum."""
    return launch.main(argv, TABLE.parser, collectives, name="bench.collectives")


def collectives(comm: MPI.Intracomm, argv: Sequence[str], results: list[Claim]) -> int:
    """Measure with the options of a command line; return the exit code; collective."""
    from bench.results.calls import PROGRAM, read_calls
    from bench.runtime.launches import announcement, results_of_launches

    config = launch.on_all_ranks(comm, lambda: read(argv))
    launch.check_launch(os.environ, comm.size, config.ranks)
    first = result_path(config, comm.size)
    paths = results_of_launches(
        comm,
        first,
        config.launches,
        results,
        PROGRAM,
        named=bool(config.name),
        overwrite=config.overwrite,
    )
    wrong = 0
    for number, path in enumerate(paths, 1):
        line = announcement(first, path, number, len(paths))
        if comm.rank == 0 and line:
            print(printable(f"# {line}"), flush=True)
        name = path.name.removesuffix(".h5")
        wrong += measure(comm, replace(config, name=name), argv, results, number)
    if comm.rank == 0:
        summarise_results(paths, lambda path: read_calls(path).rows())
    if wrong:
        launch.write_stderr(f"error: {wrong} wrong elements: see the column #wrong")
    return int(wrong > 0)


def measure(
    comm: MPI.Intracomm,
    config: Config,
    argv: Sequence[str],
    results: list[Claim],
    launch: int = 1,
) -> int:
    """Measure, print and write; return the number of wrong elements on rank 0; collective.

    Adds the claim of the result to `results`. launch: number of the measurement among those of
    these processes. Errors: UserError on every rank.
    """
    from bench.collectives import memory
    from bench.collectives.record import reserve
    from bench.runtime.opening import holding

    if comm.size < 2:
        raise UserError(
            "a collective needs 2 ranks or more, got 1: launch with `mpirun -n 2 python -m "
            "bench.collectives`"
        )
    memory.check_memory(comm, config.sizes[-1], config.measured)
    claim = reserve(comm, config, results)
    with holding(claim):
        return _measure(comm, config, argv, claim, launch)


def _measure(
    comm: MPI.Intracomm, config: Config, argv: Sequence[str], claim: Claim, launch: int
) -> int:
    """Measure every size and write the result; return the number of wrong elements; collective."""
    from algorithms.collectives.choices import conditions
    from bench.collectives import candidates, links
    from bench.collectives.record import Record
    from bench.collectives.timing import measure_size
    from bench.session.binding import keep_freed_memory, use_threads

    keep_freed_memory()
    where = conditions(comm)
    makers = candidates.makers(comm, config)
    notes = candidates.drop_unsupported(comm, config, makers)
    ranks, flaws = use_threads(comm, 1)
    baseline = links.measure(comm, [rank["host"] for rank in ranks])
    claim.files.append(claim.path)
    record = None
    if comm.rank == 0:
        record = Record(config, claim, argv, ranks, flaws, baseline, launch)
        record.begin(list(makers), notes)
    for index in range(len(config.sizes)):
        progress = record.progress if record else None
        measurement = measure_size(comm, config, makers, index, progress)
        if record and measurement:
            record.add(measurement)
    candidates.finish(comm, makers)
    return record.close(where) if record else 0


if __name__ == "__main__":
    sys.exit(main())
