"""Output of a measurement on rank 0: result file, lines on stdout, CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from algorithms.collectives import choices
from algorithms.collectives.auto import Auto
from algorithms.collectives.choices import Conditions
from bench.collectives.config import Config, case_hash, result_path
from bench.collectives.links import Links
from bench.collectives.timing import Measurement
from bench.collectives.view import View, introduction
from bench.common.files import check_target, write_whole
from bench.common.sizes import format_size
from bench.common.spec import UserError
from bench.common.text import figure
from bench.results.calls import PROGRAM, CallsFile, read_calls
from bench.results.claims import Claim
from bench.results.rows import ALLREDUCE, CollectiveRow
from bench.results.schema import COMPLETE
from bench.runtime.opening import add_provenance, origin, prepare, take_on_root
from bench.session.launch import on_all_ranks
from bench.session.terminal import is_interactive

if TYPE_CHECKING:
    from mpi4py import MPI

CSV = (
    *("op", "algorithm", "ranks", "bytes", "dtype", "n", "p50_us", "ci_lo_us", "ci_hi_us"),
    *("p99_us", "algbw_GBps", "busbw_GBps", "wrong", "count", "max_us", "bound_percent"),
    *("vs_library", "flags", "messages", "bytes_sent", "chosen"),
)
"""Columns of --csv."""


def reserve(comm: MPI.Intracomm, config: Config, results: list[Claim]) -> Claim:
    """Create the folder of the result and claim the result; collective.

    results: receives the claim. Errors: UserError on every rank if the result or the CSV cannot be
    written.
    """
    path = result_path(config, comm.size)

    def check() -> None:
        if config.csv:
            check_target("--csv", Path(config.csv))
        prepare(path, config.overwrite)

    claim = take_on_root(comm, results, path, PROGRAM)
    try:
        on_all_ranks(comm, lambda: None if comm.rank else check())
    except UserError:
        claim.release()
        raise
    return claim


class Record:
    """One measurement, written and printed size by size; on rank 0.

    ranks and flaws: as returned by use_threads. launch: number of the measurement among those of
    these processes.
    """

    def __init__(
        self,
        config: Config,
        claim: Claim,
        argv: Sequence[str],
        ranks: Sequence[dict[str, Any]],
        flaws: Sequence[str],
        links: Links,
        launch: int,
    ) -> None:
        self._config, self._ranks, self._flaws, self._links = config, ranks, flaws, links
        self._attributes = _attributes(config, argv, ranks, flaws, links, launch)
        self._file = CallsFile(
            claim.path,
            self._attributes,
            links.offset_ns,
            links.round_trip_ns,
            lambda file: add_provenance(file, ranks),
            claim,
        )

    def begin(self, names: Sequence[str], notes: Sequence[str]) -> None:
        """Print the introduction; names: the candidates that are measured."""
        from mpi4py import MPI

        library = MPI.Get_library_version().partition(",")[0].strip("\x00 \n")
        notes = [*self._config.notes, *notes, *self._flaws]
        self._view = View(self._config, names, len(self._ranks), is_interactive())
        self._view.begin(
            introduction(self._config, self._links, self._ranks, library, names, notes)
        )

    def progress(self, nbytes: int, rounds: int, widths: NDArray[np.float64]) -> None:
        """Show the progress of a size."""
        self._view.progress(nbytes, rounds, widths)

    def add(self, measurement: Measurement) -> None:
        """Write and print one size."""
        calls = measurement.calls(self._file.path, self._attributes, self._links.offset_ns)
        self._file.append(calls)
        self._view.add(calls)
        for name, reason in measurement.refusals.items():
            self._view.print_note(f"note: {name} is left out here: {reason}")

    def close(self, where: Conditions) -> int:
        """Close the file, write the CSV, print the footer; return the number of wrong elements.

        where: the machine before the first call, for the choices of `auto` that are corrected.
        """
        path = self._file.path
        self._file.close(COMPLETE, {})
        rows = read_calls(path).rows()
        if self._config.csv:
            write_whole(Path(self._config.csv), csv_text(rows))
        wrong = self._view.end(path)
        for line in correct(rows, where, datetime.now(UTC)):
            self._view.print_note(line)
        if self._config.csv:
            self._view.print_note(f"csv {self._config.csv}")
        return wrong


def csv_text(rows: Sequence[CollectiveRow]) -> str:
    """Return the rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        record = row.record()
        writer.writerow({name: record[name] for name in CSV})
    return text.getvalue()


def _attributes(
    config: Config,
    argv: Sequence[str],
    ranks: Sequence[dict[str, Any]],
    flaws: Sequence[str],
    links: Links,
    launch: int,
) -> dict[str, Any]:
    """Return the attributes of the result file."""
    return {
        **origin(PROGRAM, argv, ranks, flaws, launch),
        "case_hash": case_hash(config, len(ranks)),
        "params_json": json.dumps(config.resolved()),
        "seed": config.seed,
        "ci": config.ci,
        "time_s": config.time_s,
        "alpha_ns": links.alpha_ns,
        "bandwidth_Bps": links.bandwidth,
        "memory_Bps": links.memory,
        "timer_ns": links.timer_ns,
        "alpha_spread": links.alpha_spread,
        "bandwidth_spread": links.bandwidth_spread,
        "sync": "MPI_Barrier",
        "time_definition": "the duration of a call is that of its slowest rank; before it, "
        "untimed, every rank writes its vector and enters a barrier",
    }


def correct(rows: Sequence[CollectiveRow], where: Conditions, now: datetime) -> list[str]:
    """Replace the remembered choices that the rows contradict; return a line for each.

    rows: of one launch. A choice is contradicted if the interval of another all-reduce with exact
    sums lies below the interval of the chosen one, at the same size on the same ranks.
    """
    lines = []
    reductions = [row for row in rows if row.op == ALLREDUCE]
    candidates = [x for x in reductions if x.algorithm in Auto.candidates and x.wrong <= 0]
    for nbytes in dict.fromkeys(row.bytes for row in candidates):
        by_name = {row.algorithm: row for row in candidates if row.bytes == nbytes}
        best = min(by_name.values(), key=lambda row: row.p50_us)
        key = choices.key(where, best.ranks, np.dtype(best.dtype))
        before = choices.recall(key, nbytes)
        chosen = by_name.get(before.chosen) if before else None
        if not chosen or best.ci_hi_us >= chosen.ci_lo_us:
            continue
        us = {name: row.p50_us for name, row in by_name.items()}
        choices.remember(key, nbytes, choices.choice(where, us, PROGRAM, now))
        lines.append(
            f"auto: from now on {best.algorithm} at {format_size(nbytes)}, "
            f"{figure(best.p50_us)} us here, instead of {chosen.algorithm}, "
            f"{figure(chosen.p50_us)} us"
        )
    return lines
