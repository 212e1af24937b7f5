"""Hand over again what did not end well: `python -m slurm.retry SWEEP`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bench.common.cli import run
from bench.results.schema import DIED, FAILED
from slurm.campaign import folder_parser, submitted_at
from slurm.ledger import held
from slurm.queue import need_slurm
from slurm.site import SLURM, load
from slurm.states import CANCELLED, MISSING, PREEMPTED

AGAIN = (FAILED, DIED, MISSING, PREEMPTED, CANCELLED)


def retry(argv: Sequence[str]) -> int:
    """Hand over what failed, died or is missing; return the exit code. Errors: UserError."""
    given = folder_parser(
        "retry",
        "Hand over again those cases of a submitted sweep that failed, died, were cancelled or "
        "are missing, on the site and with the options of its last submit. What is under way or "
        "has a result is left alone.",
        "Example: python -m slurm.retry slurm/sweeps/demo.toml. Exit code: as of slurm.submit.",
    ).parse_args(argv)
    from slurm.states import look
    from slurm.status import counted
    from slurm.submit import hand_over

    campaign = submitted_at(given.path, given.out)
    site = load(campaign.site)
    if site.scheduler == SLURM:
        need_slurm(site.name)
    with held(campaign.jobs, "slurm.retry"):
        seen = look(campaign, mine=True)
        chosen = [x.entry for x in seen.states if x.state in AGAIN and not x.under_way]
        if not chosen:
            print(f"nothing to do again: {counted(seen.states)}")
            return 0
        return hand_over(seen, chosen, site, "retry")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    return run(retry, argv)


if __name__ == "__main__":
    sys.exit(main())
