"""Train under drawn faults, by adoption and by restart: `python -m bench.chaos -- OPTIONS`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bench.chaos.options import PROGRAM, TABLE, split
from bench.common import cli
from bench.common.output import print_error


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
    from bench.session.signals import StopSignal

    try:
        return run(options, training, argv)
    except StopSignal as stop:  # every job has ended with its context
        print_error(str(stop))
        return stop.code


if __name__ == "__main__":
    sys.exit(main())
