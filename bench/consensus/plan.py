"""What bench.consensus is about to run: checked before anything does, the same on every rank."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from algorithms.topologies.protocol import Topology
from bench.common.files import check_target
from bench.common.spec import UserError, case_hash
from bench.consensus.flock import Limits
from bench.consensus.options import Options
from bench.runtime.opening import claim
from bench.session.launch import check_launch, on_all_ranks

if TYPE_CHECKING:
    from mpi4py import MPI

ARRAYS = 8
"""Copies of all workers' numbers that a round has at once: start, x, message, inbox, ..."""


@dataclass(frozen=True)
class Plan:
    """What is to run."""

    options: Options
    workers: int
    topologies: dict[str, Topology]
    """By name with options."""
    limits: Limits
    params: dict[str, Any]
    hash: str
    path: Path


def plan(comm: MPI.Intracomm, options: Options) -> Plan:
    """Check the launch, the sizes and the places of the results; collective."""
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
    on_all_ranks(comm, lambda: check_memory(comm, workers, options.dimension))
    topologies = options.chosen(workers)
    decides = ("dimension", "rounds", "tolerance", "time", "seed")
    params = {key: value for key, value in asdict(options).items() if key in decides}
    params |= {"workers": workers, "topologies": list(topologies)}
    hash_ = case_hash(params, comm.size)
    name = options.name or f"consensus-w{workers}-r{comm.size}-{hash_[:6]}"
    path = Path(options.out) / f"{name}.h5"

    def places() -> None:
        if options.csv:
            check_target("--csv", Path(options.csv))
        claim(path, options.overwrite)

    on_all_ranks(comm, lambda: places() if comm.rank == 0 else None)
    limits = Limits(options.tolerance, options.rounds, options.time)
    return Plan(options, workers, topologies, limits, params, hash_, path)


def check_memory(comm: MPI.Intracomm, workers: int, dimension: int) -> None:
    """Refuse what the memory of this node cannot hold; collective. Errors: UserError."""
    from mpi4py import MPI

    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    here = -(-workers // comm.size) * node.size
    node.Free()
    needed = ARRAYS * 8 * here * (dimension + 1)
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return
    free = next((1024 * int(x.split()[1]) for x in lines if x.startswith("MemAvailable")), needed)
    if needed > free:
        raise UserError(
            f"--dimension {dimension} with {workers} workers needs some {needed / 2**30:,.1f} GiB "
            f"on a node, {free / 2**30:,.1f} GiB are free: take fewer of either"
        )
