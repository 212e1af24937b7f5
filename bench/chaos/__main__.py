"""Train under drawn faults, by adoption and by restart: `python -m bench.chaos -- OPTIONS`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bench.chaos.options import PROGRAM, TABLE, split
from bench.common import cli


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program, which launches mpirun itself; return its exit code."""
    return cli.run(chaos, argv, acts=True, program=PROGRAM)


def chaos(argv: Sequence[str]) -> int:
    """Run every strategy under every plan of faults; return the exit code. Errors: UserError."""
    own, training = split(argv)
    options = TABLE.read(own)

    import mpi4py

    mpi4py.rc.initialize = False  # the ranks are those of the launches
    from bench.chaos.run import run

    return run(options, training, argv)


if __name__ == "__main__":
    sys.exit(main())
