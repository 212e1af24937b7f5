"""One run of bench.consensus: checks before the first round, result file, printed rows, CSV."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from algorithms.exchange.trouble import Trouble
from algorithms.topologies.mixing import default_topologies
from algorithms.topologies.protocol import Topology
from algorithms.wire.placement import Placement
from bench.common.files import check_target, write_whole
from bench.common.spec import UserError, case_hash
from bench.common.summary import summarise_results
from bench.common.text import printable
from bench.consensus import table
from bench.consensus.gossip import Limits, draw_start, measure
from bench.consensus.options import Options
from bench.results.claims import Claim
from bench.results.convergence import flags
from bench.results.convergence import rows as rows_of
from bench.results.rounds import Rounds, RoundsFile, read_rounds
from bench.results.rows import ConsensusRow
from bench.results.schema import COMPLETE
from bench.runtime.faults import trouble_of
from bench.runtime.launches import announcement, results_of_launches
from bench.runtime.memory import check_memory
from bench.runtime.opening import add_provenance, holding, origin, prepare, take_on_root
from bench.runtime.options import MODEL, TrainOptions
from bench.session.binding import keep_freed_memory, use_threads
from bench.session.launch import check_launch, on_all_ranks
from bench.session.terminal import is_interactive

if TYPE_CHECKING:
    from mpi4py import MPI

PROGRAM = "bench.consensus"
ARRAYS = 8
"""Arrays of all rows that one round holds at once: start, x, message, inbox and others."""


@dataclass(frozen=True)
class Plan:
    """Checked options of a run, and the place of its result."""

    options: Options
    workers: int
    topologies: dict[str, Topology]
    """Topologies by name with options."""
    limits: Limits
    params: dict[str, Any]
    """Options that affect the numbers."""
    hash: str
    path: Path
    trouble: Trouble | None = None
    """Links of the model clock; None on the wall clock."""
    launch: int = 1
    """Number of the run among those of its processes."""


def run(comm: MPI.Intracomm, options: Options, argv: Sequence[str], results: list[Claim]) -> None:
    """Measure every topology, once for each launch; see `_measure`; collective."""
    plan = plan_run(comm, options)
    paths = results_of_launches(
        comm,
        plan.path,
        options.launches,
        results,
        PROGRAM,
        named=bool(options.name),
        overwrite=options.overwrite,
    )
    for launch, path in enumerate(paths, 1):
        line = announcement(plan.path, path, launch, len(paths))
        if comm.rank == 0 and line:
            _print(line)
        claim = take_on_root(comm, results, path, PROGRAM)
        with holding(claim):
            _measure(comm, replace(plan, path=path, launch=launch), argv, claim)
    if comm.rank == 0:
        summarise_results(paths, lambda path: rows_of(read_rounds(path)))


def _measure(comm: MPI.Intracomm, plan: Plan, argv: Sequence[str], claim: Claim) -> None:
    """Measure every topology and write the claimed result; collective.

    Errors: UserError on every rank if the result exists or cannot be written.
    """
    options = plan.options
    on_all_ranks(comm, lambda: None if comm.rank else prepare(plan.path, options.overwrite))
    ranks, flaws = use_threads(comm, 1)
    keep_freed_memory()
    claim.files.append(plan.path)
    file = None
    if comm.rank == 0:
        file = _open_file(plan, ranks, argv, flaws, claim)
        _introduce(plan, comm.size, flaws)
    ids = Placement.dealt(plan.workers, comm.size).positions(comm.rank)
    start = draw_start(options.seed, plan.workers, ids, options.dimension)
    for topology in plan.topologies.values():
        case = measure(
            comm,
            topology,
            start,
            plan.limits,
            total=plan.workers,
            seed=options.seed,
            trouble=plan.trouble,
        )
        if file:
            file.add(case)
            row = rows_of(read_rounds(file.part))[-1]
            curves = [case.error, *case.redraws]
            _print(table.line(row, curves, picture=is_interactive()))
    if file:
        file.close(COMPLETE, {})
        _conclude(plan, read_rounds(file.path))
    on_all_ranks(comm, lambda: _write_csv(plan) if comm.rank == 0 and options.csv else None)


def plan_run(comm: MPI.Intracomm, options: Options) -> Plan:
    """Check the launch, the sizes and the place of the CSV; collective.

    Errors: UserError on every rank.
    """
    check_launch(os.environ, comm.size, options.ranks)
    workers = options.workers or comm.size
    if workers < comm.size:
        raise UserError(
            f"--workers must be at least the number of ranks, {comm.size}, got {workers}: every "
            "rank hosts one or more"
        )
    if workers < 2:
        raise UserError(
            f"agreement needs at least 2 workers, got {workers}: --workers 16, or mpirun -n 2"
        )
    check_rows(comm, workers, options.dimension)
    topologies = options.chosen(workers)
    names = ("dimension", "rounds", "tolerance", "time", "seed")
    params = {key: value for key, value in asdict(options).items() if key in names}
    params |= {"workers": workers, "topologies": list(topologies)}
    trouble = None
    if options.clock == MODEL:
        trouble = trouble_of(TrainOptions(clock=MODEL, link=options.link, seed=options.seed))
        params |= {"clock": MODEL, "link": options.link}
    digest = case_hash(params, comm.size)
    name = options.name or f"consensus-w{workers}-r{comm.size}-{digest[:6]}"
    path = Path(options.out) / f"{name}.h5"

    def check_csv() -> None:
        if options.csv and comm.rank == 0:
            check_target("--csv", Path(options.csv))

    on_all_ranks(comm, check_csv)
    limits = Limits(options.tolerance, options.rounds, options.time)
    return Plan(options, workers, topologies, limits, params, digest, path, trouble)


def check_rows(comm: MPI.Intracomm, workers: int, dimension: int) -> None:
    """Check that all rows fit into memory; collective. Errors: UserError."""
    needed = ARRAYS * 8 * -(-workers // comm.size) * (dimension + 1)
    what = f"--dimension {dimension} with {workers} workers"
    check_memory(comm, needed, f"the rows of {what}", "reduce either")


def _open_file(
    plan: Plan, ranks: list[dict[str, Any]], argv: Sequence[str], flaws: list[str], claim: Claim
) -> RoundsFile:
    """Create the result file with its attributes; on rank 0."""
    attributes = {
        **origin(PROGRAM, argv, ranks, flaws, plan.launch),
        "case_hash": plan.hash,
        "params_json": json.dumps(plan.params),
        "seed": plan.options.seed,
        "workers": plan.workers,
        "dimension": plan.options.dimension,
        "tolerance": plan.options.tolerance,
        "time_definition": "the duration of a round is that of its slowest rank; between rounds, "
        "untimed, the ranks synchronise and the error is evaluated",
    }
    if plan.trouble:
        attributes |= {"clock": MODEL, "time_definition": "a round ends with its last worker"}
    return RoundsFile(plan.path, attributes, lambda file: add_provenance(file, ranks), claim)


def _introduce(plan: Plan, ranks: int, flaws: list[str]) -> None:
    """Print the introduction and the heading of the table."""
    options, picture = plan.options, is_interactive()
    for text in table.introduction(
        plan.workers, ranks, options.dimension, options.seed, plan.limits, picture=picture
    ):
        _print(text)
    if plan.trouble:
        _print(f"clock       model: all times are those of --link {options.link}")
    for flaw in flaws:
        _print(f"note: {flaw}")
    _print(table.HEADING + (" " * 5 + "picture" if picture else ""))


def _conclude(plan: Plan, rounds: Rounds) -> None:
    """Print the conclusion below the table."""
    rows = rows_of(rounds)
    marks = [flags(row, rounds.curves(i)) for i, row in enumerate(rows)]
    omitted = (
        []
        if plan.options.topology
        else [x for x in default_topologies() if x not in plan.topologies]
    )
    for text in table.conclusion(rows, marks, omitted, plan.limits):
        _print(text)
    _print(f"{'file':<21}  {rounds.path}")
    _print(f"{'report':<21}  python -m bench.report {rounds.path} --html report.html")


def _write_csv(plan: Plan) -> None:
    """Write the rows as CSV. Errors: UserError."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(ConsensusRow.columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(row.record() for row in rows_of(read_rounds(plan.path)))
    write_whole(Path(plan.options.csv), text.getvalue())


def _print(text: str) -> None:
    print(printable(text), flush=True)
