"""Cancel the unfinished cases of a submitted sweep: `python -m slurm.cancel SWEEP`."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Sequence

from bench.common.cli import run
from bench.common.spec import UserError
from bench.common.summary import summarise
from bench.common.text import counted
from bench.results.claims import Owner, holder
from slurm import ledger, queue
from slurm.campaign import Campaign, find_campaign, folder_parser

TIMEOUT_S = 300
"""Maximum wait for a local run to end: a training writes a checkpoint first."""


def cancel(argv: Sequence[str]) -> int:
    """Cancel all jobs of the folder and end the run on this machine; return the exit code.

    Errors: UserError.
    """
    options = folder_parser(
        "cancel",
        "Cancel all jobs of a submitted sweep, or end its run on this machine. Trainings write a "
        "checkpoint, from which the same submit resumes. Finished results are kept.",
        "Example: python -m slurm.cancel slurm/sweeps/demo.toml. Exit code: 0, also if there was "
        "nothing to cancel; 2 for a mistake.",
    ).parse_args(argv)
    from slurm.states import take_snapshot
    from slurm.status import summary

    campaign = find_campaign(options.path, options.out)
    snapshot = take_snapshot(campaign)
    jobs = list(dict.fromkeys(x.job for x in snapshot.elements))
    active = [x for x in snapshot.states if x.in_progress]
    summarise(folder=campaign.folder, jobs=jobs, cancelled=len(active))
    if jobs:
        hashes = [x.entry.case.hash for x in active]
        ledger.add(campaign.jobs, "cancel", hashes=hashes, jobs=jobs)
        queue.cancel(jobs)
        print(f"cancelled job {', '.join(jobs)}: {counted(len(active), 'case')} not finished")
    if snapshot.holder and snapshot.runs_here:
        _end(campaign, snapshot.holder)
    elif snapshot.holder:
        raise UserError(
            f"{campaign.folder} is in use by {snapshot.holder}: wait until it has ended"
        )
    elif not jobs:
        print(f"nothing is in progress: {summary(snapshot.states)}")
    return 0


def _end(campaign: Campaign, owner: Owner) -> None:
    """End the run on this machine and wait until its results are written. Errors: UserError."""
    if owner.host != socket.gethostname():
        raise UserError(f"{owner} runs on another machine: cancel it on {owner.host}")
    try:
        os.kill(owner.pid, signal.SIGTERM)
    except ProcessLookupError:
        pass
    except PermissionError:
        raise UserError(f"{owner} belongs to another user: only that user can end it") from None
    print(f"sent SIGTERM to {owner}", flush=True)
    deadline = time.monotonic() + TIMEOUT_S
    while holder(campaign.jobs) == owner:
        if time.monotonic() > deadline:
            raise UserError(
                f"{owner} has not ended after {TIMEOUT_S} s: cancel again, which does not wait "
                "for a checkpoint"
            )
        time.sleep(0.1)
    print("ended: finished results are kept, the same submit continues with the rest")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    return run(cancel, argv, acts=True, program="slurm.cancel")


if __name__ == "__main__":
    sys.exit(main())
