"""How a submitted sweep stands: `python -m slurm.status SWEEP`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from slurm import program
from slurm.campaign import folder_parser, submitted_at


def status(argv: Sequence[str]) -> int:
    """Print how the cases stand; return the exit code. Errors: UserError."""
    given = folder_parser(
        "status",
        "How the cases of a submitted sweep stand, from their results, the queue and the folder's "
        "ledger: complete, diverged, running, queued, preempted (stopped with a checkpoint, goes "
        "on), cancelled, failed, died (its process is gone), missing.",
        "Example: python -m slurm.status slurm/sweeps/demo.toml. Exit code: 0 where every case is "
        "complete or diverged, 1 where one is not and nothing is under way, 3 while something is, "
        "2 for a mistake.",
    ).parse_args(argv)
    from slurm.overview import code, show
    from slurm.states import look

    seen = look(submitted_at(given.path, given.out))
    show(seen)
    return code(seen.states)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    return program.run(status, argv)


if __name__ == "__main__":
    sys.exit(main())
