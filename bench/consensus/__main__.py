"""Measure how fast gossip agrees over every topology: `mpirun -n P python -m bench.consensus`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.consensus.options import TABLE
from bench.session import launch

if TYPE_CHECKING:
    from mpi4py import MPI

    from bench.results.claims import Claim


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    return launch.main(argv, TABLE.parser, consensus, name="bench.consensus")


def consensus(comm: MPI.Intracomm, argv: Sequence[str], results: list[Claim]) -> None:
    """Measure the topologies of a command line; see `bench.consensus.run.run`; collective."""
    from bench.consensus.run import run

    run(comm, launch.on_all_ranks(comm, lambda: TABLE.read(argv)), argv, results)


if __name__ == "__main__":
    sys.exit(main())
