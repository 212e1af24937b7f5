"""Call off what is left of a submitted sweep: `python -m slurm.cancel SWEEP`."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Sequence

from bench.common.cli import run
from bench.common.spec import UserError
from slurm import ledger, queue
from slurm.campaign import Campaign, folder_parser, submitted_at
from slurm.ledger import Holder, holder

PATIENCE_S = 300
"""A training that is asked to end writes a checkpoint first."""


def cancel(argv: Sequence[str]) -> int:
    """Cancel all jobs of the folder, and end what runs on this machine; return the exit code.

    Errors: UserError.
    """
    given = folder_parser(
        "cancel",
        "Cancel all jobs of a submitted sweep that have not ended, or end what runs on this "
        "machine. Trainings write a checkpoint: the same submit goes on from there. What has "
        "ended is kept.",
        "Example: python -m slurm.cancel slurm/sweeps/demo.toml. Exit code: 0, also where there "
        "was nothing to cancel; 2 for a mistake.",
    ).parse_args(argv)
    from slurm.states import look
    from slurm.status import counted

    campaign = submitted_at(given.path, given.out)
    seen = look(campaign)
    jobs = list(dict.fromkeys(x.job for x in seen.elements))
    left = [x for x in seen.states if x.under_way]
    if jobs:
        called_off = [x.entry.case.hash for x in left]
        ledger.add(campaign.jobs, "cancel", hashes=called_off, jobs=jobs)
        queue.cancel(jobs)
        print(f"cancelled job {', '.join(jobs)}: {len(left)} cases were not finished")
    if seen.holder and seen.runs_here:
        _end(campaign, seen.holder)
    elif seen.holder:
        raise UserError(f"{campaign.folder} is in the hands of {seen.holder}: wait for it")
    elif not jobs:
        print(f"nothing is under way: {counted(seen.states)}")
    return 0


def _end(campaign: Campaign, found: Holder) -> None:
    """End the run on this machine, once it has kept what it has. Errors: UserError."""
    if found.host != socket.gethostname():
        raise UserError(f"{found} can only be ended on {found.host}: go there")
    try:
        os.kill(found.pid, signal.SIGTERM)
    except ProcessLookupError:
        pass
    except PermissionError:
        raise UserError(f"{found} belongs to another user, who can end it") from None
    print(f"told {found} to end", flush=True)
    deadline = time.monotonic() + PATIENCE_S
    while holder(campaign.jobs) == found:
        if time.monotonic() > deadline:
            raise UserError(
                f"{found} has not ended after {PATIENCE_S} s: cancel once more, which does not "
                "wait for a checkpoint"
            )
        time.sleep(0.1)
    print("ended: what has ended is kept, the same submit goes on from here")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    return run(cancel, argv)


if __name__ == "__main__":
    sys.exit(main())
