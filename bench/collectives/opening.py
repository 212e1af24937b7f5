"""The result of bench.collectives before the first call: its place and what it says of itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.collectives.config import Config
from bench.collectives.links import Links
from bench.common import spec
from bench.common.files import check_target
from bench.results.calls import PROGRAM
from bench.results.callsfile import CallsFile
from bench.runtime.opening import add_provenance, claim, origin
from bench.session.launch import on_all_ranks

if TYPE_CHECKING:
    from mpi4py import MPI


def place(comm: MPI.Intracomm, config: Config) -> Path:
    """Where the result goes, made and free; collective.

    Errors: UserError on every rank where it, or the CSV, cannot be written.
    """
    path = Path(config.out) / f"{config.name or default_name(config, comm.size)}.h5"

    def check() -> None:
        if config.csv:
            check_target("--csv", Path(config.csv))
        claim(path, config.overwrite)

    on_all_ranks(comm, lambda: check() if comm.rank == 0 else None)
    return path


def case_hash(config: Config, ranks: int) -> str:
    """12 hex digits of everything that decides the numbers."""
    return spec.case_hash(config.resolved(), ranks)


def default_name(config: Config, ranks: int) -> str:
    """The name of the result, without .h5."""
    return f"collectives-r{ranks}-{case_hash(config, ranks)[:6]}"


def attributes(
    config: Config,
    argv: Sequence[str],
    ranks: Sequence[dict[str, Any]],
    flaws: Sequence[str],
    links: Links,
) -> dict[str, Any]:
    """The attributes of the file; ranks and flaws as use_threads returns them."""
    return {
        **origin(PROGRAM, argv, ranks, flaws),
        "case_hash": case_hash(config, len(ranks)),
        "params_json": json.dumps(config.resolved()),
        "seed": config.seed,
        "ci": config.ci,
        "time_s": config.time_s,
        "alpha_ns": links.alpha_ns,
        "bandwidth_Bps": links.bandwidth,
        "memory_Bps": links.memory,
        "timer_ns": links.timer_ns,
        "sync": "MPI_Barrier",
        "time_definition": "a call is as long as on its slowest rank; before it, untimed, every "
        "rank writes its vector and meets the others at a barrier",
    }


def open_file(
    path: Path, attributes: dict[str, Any], ranks: Sequence[dict[str, Any]], links: Links
) -> CallsFile:
    """Create the result file; on rank 0."""
    return CallsFile(
        path,
        attributes,
        links.offset_ns,
        links.round_trip_ns,
        lambda file: add_provenance(file, ranks),
    )
