"""Compute step times of algorithms on up to millions of workers: `python -m bench.simulate`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.session import launch
from bench.simulate.options import TABLE

if TYPE_CHECKING:
    from mpi4py import MPI

    from bench.results.claims import Claim


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    return launch.main(argv, TABLE.parser, simulate, name="bench.simulate")


def simulate(comm: MPI.Intracomm, argv: Sequence[str], results: list[Claim]) -> None:
    """Simulate the cases of a command line; see `bench.simulate.run.run`; collective."""
    from bench.simulate.run import run

    run(comm, launch.on_all_ranks(comm, lambda: TABLE.read(argv)), argv, results)


if __name__ == "__main__":
    sys.exit(main())
