"""Submit the unfinished cases of a sweep again: `python -m slurm.retry SWEEP`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bench.common.cli import run
from bench.common.summary import summarise
from bench.results.schema import DIED, FAILED
from slurm.campaign import find_campaign, folder_parser
from slurm.ledger import lock_folder
from slurm.queue import require_slurm
from slurm.site import SLURM, load
from slurm.states import CANCELLED, MISSING, PREEMPTED

RETRIED = (FAILED, DIED, MISSING, PREEMPTED, CANCELLED)
"""States of the cases that retry submits."""


def retry(argv: Sequence[str]) -> int:
    """Submit failed, dead and missing cases again; return the exit code. Errors: UserError."""
    options = folder_parser(
        "retry",
        "Submit those cases of a sweep again that failed, died, were cancelled or are missing, "
        "with the site and the options of the last submit. Cases in progress or with a result "
        "are left alone.",
        "Example: python -m slurm.retry slurm/sweeps/demo.toml. Exit code: that of slurm.submit.",
    ).parse_args(argv)
    from slurm.inputs import check_inputs
    from slurm.states import take_snapshot
    from slurm.status import summary
    from slurm.submit import submit_cases

    campaign = find_campaign(options.path, options.out)
    site = load(campaign.site)
    if site.scheduler == SLURM:
        require_slurm(site.name)
    with lock_folder(campaign.jobs, "slurm.retry"):
        snapshot = take_snapshot(campaign, own_lock=True)
        check_inputs(snapshot.states)
        cases = [x.entry for x in snapshot.states if x.state in RETRIED and not x.in_progress]
        summarise(folder=campaign.folder, submitted=len(cases))
        if not cases:
            print(f"nothing to retry: {summary(snapshot.states)}")
            return 0
        return submit_cases(snapshot, cases, site, "retry")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    return run(retry, argv, acts=True, program="slurm.retry")


if __name__ == "__main__":
    sys.exit(main())
