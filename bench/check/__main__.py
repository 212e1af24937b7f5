"""Check the contract of an algorithm or another part: `python -m bench.check SPEC`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from bench.common import cli
from bench.common.options import Table, check_ranges, option, positional
from bench.common.summary import delegate, summarise, summarise_row
from bench.session import launch

PROGRAM = "bench.check"

if TYPE_CHECKING:
    from mpi4py import MPI

    from bench.check.findings import Finding
    from bench.results.claims import Claim


@dataclass(frozen=True)
class CheckOptions:
    """The options of bench.check."""

    spec: str = positional("FILE.py:CLASS or a registered name, with its options", "SPEC")
    ranks: int = option(4, "ranks of mpirun that play an algorithm", "N", least=1)

    def __post_init__(self) -> None:
        check_ranges(self)


TABLE = Table(
    CheckOptions,
    prog="python -m bench.check",
    description="Check the contract of an algorithm, topology, partition, task or controller, one "
    "line for each property.",
    epilog="Example: python -m bench.check mine.py:MyGossip:alpha=0.5. Exit code: 0 if all holds, "
    "1 if something does not, 2 for a mistake.",
)
"""The options of bench.check as a command line."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code.

    An algorithm is played on several ranks: outside of mpirun, the program starts mpirun itself.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if any(name in os.environ for name in launch.SIZE_VARIABLES):
        return launch.main(arguments, TABLE.parser, on_ranks, name=PROGRAM)
    return cli.run(_alone, arguments, program=PROGRAM)


def _alone(argv: Sequence[str]) -> int:
    from bench.check.findings import thing_of

    options = TABLE.read(argv)
    kind, _ = thing_of(options.spec)
    mpirun = shutil.which("mpirun")
    if kind == "algorithm" and options.ranks > 1 and mpirun:
        command = [mpirun, "-n", str(options.ranks), sys.executable, "-m", PROGRAM, *argv]
        return subprocess.run([*command, *delegate()], check=False).returncode
    if kind == "algorithm":
        return launch.main(argv, TABLE.parser, on_ranks)
    return _print(options.spec, kind, _of_part(options.spec, kind))


def on_ranks(comm: MPI.Intracomm, argv: Sequence[str], results: list[Claim]) -> int:
    """Check the object of a command line on all ranks; return the exit code; collective."""
    import numpy as np

    from bench.check import algorithm
    from bench.check.findings import FAILS, thing_of

    options = launch.on_all_ranks(comm, lambda: TABLE.read(argv))
    kind, thing = launch.on_all_ranks(comm, lambda: thing_of(options.spec))
    if kind != "algorithm":
        return _print(options.spec, kind, _of_part(options.spec, kind)) if comm.rank == 0 else 0
    bad = 0
    summarise(spec=options.spec, kind=kind)
    if comm.rank == 0:
        print(f"{kind} {options.spec}, on {comm.size} ranks", flush=True)
    with np.errstate(all="ignore"):
        for finding in algorithm.findings(comm, options.spec, thing):
            bad |= finding.state == FAILS
            summarise_row(**asdict(finding))
            if comm.rank == 0:
                print(finding, flush=True)
    return int(bad and comm.rank == 0)


def _of_part(spec: str, kind: str) -> list[Finding]:
    from bench.check import parts
    from bench.check.findings import thing_of

    checks = (parts.topology, parts.partition, parts.task, parts.controller)
    check = next(x for x in checks if x.__name__ == kind)
    return list(check(thing_of(spec)[1]))


def _print(spec: str, kind: str, findings: Sequence[Finding]) -> int:
    from bench.check.findings import FAILS

    print(f"{kind} {spec}")
    summarise(spec=spec, kind=kind)
    for finding in findings:
        summarise_row(**asdict(finding))
        print(finding)
    return int(any(x.state == FAILS for x in findings))


if __name__ == "__main__":
    sys.exit(main())
