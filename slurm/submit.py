"""Submit a sweep to Slurm, or run it here by mpirun: `python -m slurm.submit FILE.toml`."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bench.common.cli import Parser, run
from bench.common.spec import UserError, expand_path
from bench.common.summary import summarise
from bench.common.text import printable
from bench.results.schema import DIED, FAILED
from slurm.campaign import (
    JOBS,
    Campaign,
    Entry,
    load_campaign,
    merge_entries,
    results_folder,
    sha256,
)
from slurm.case import Case
from slurm.ledger import history, lock_folder
from slurm.queue import require_slurm
from slurm.site import NONE, SLURM, Site, array_size, find, load
from slurm.states import CANCELLED, MISSING, PREEMPTED, Snapshot

SUBMITTED = (MISSING, PREEMPTED, CANCELLED, DIED)
"""States of the cases that submit takes. A failed case would fail again: slurm.retry takes it."""


def parser() -> argparse.ArgumentParser:
    """Return the command line of slurm.submit."""
    result = Parser(
        prog="python -m slurm.submit",
        description="Check every case of a sweep file, then submit them: a job array for all cases "
        "of the same geometry, the largest first, and after them a job that makes the report. "
        "Without Slurm, or with --site local, the cases run on this machine by mpirun, one after "
        "the other. Cases that are in progress or have a result are left out: the same command "
        "runs nothing twice, and resumes cases that were cancelled or died.",
        epilog="Example: python -m slurm.submit slurm/sweeps/demo.toml. Then slurm.status, cancel, "
        "retry and collect of the same file. Exit code: 0, for a run on this machine if all cases "
        "are complete or diverged; 1 if a case failed, or Slurm refused a job after others were "
        "queued; 2 for a mistake, found before anything is queued; 130 or 143 after a signal.",
        allow_abbrev=False,
        summarises=True,
    )
    result.add_argument("file", metavar="FILE.toml", help="the sweep")
    result.add_argument(
        "--site",
        metavar="NAME",
        type=expand_path,
        help="machine of the jobs: a file of slurm/sites or the path of one (default: by the name "
        "of the cluster or host, else local)",
    )
    result.add_argument(
        "--out",
        metavar="DIR",
        help="folder of results, scripts and ledger (default: the sweep's name under runs/sweeps, "
        "or under the site's scratch)",
    )
    result.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option that replaces or joins those at the file's top level",
    )
    result.add_argument(
        "--dry-run",
        action="store_true",
        help="write and show the scripts and the commands, submit nothing",
    )
    return result


def submit(argv: Sequence[str]) -> int:
    """Check and submit the cases without a result and return the exit code. Errors: UserError."""
    options = parser().parse_args(argv)
    path = Path(options.file)
    if path.is_dir():
        raise UserError(f"{path} is a folder: give the sweep file, a .toml")
    site = load(options.site) if options.site else find(os.environ)
    from bench.sweep.running import write_refusals
    from slurm.inputs import check_inputs
    from slurm.plan import plan
    from slurm.states import take_snapshot
    from slurm.status import summary
    from slurm.table import show

    if site.scheduler == SLURM and not options.dry_run:
        require_slurm(site.name)
    cases = plan(path, site, options.set)
    folder = results_folder(path, site, options.out).resolve()
    with lock_folder(folder / JOBS, "slurm.submit"):
        campaign = _campaign(folder, path, options, site, cases)
        snapshot = take_snapshot(campaign, own_lock=True)
        check_inputs(snapshot.states)
        chosen = [x.entry for x in snapshot.states if x.state in SUBMITTED and not x.in_progress]
        chosen_hashes = {x.case.hash for x in chosen}
        states = {x.entry.case.hash: x.state for x in snapshot.states}
        show(cases, {x: state for x, state in states.items() if x not in chosen_hashes}, folder)
        summarise(folder=folder, cases=len(cases), submitted=0 if options.dry_run else len(chosen))
        for line in skipped_lines(snapshot):
            print(printable(line))
        if options.dry_run:
            return dry_run(snapshot, chosen, site)
        campaign.save()
        refused = [f"{x.label}: {x.refused}" for x in cases if x.refused]
        write_refusals(folder, refused)
        if not chosen:
            print(f"nothing to submit: {summary(snapshot.states)}")
            return 0
        return submit_cases(snapshot, chosen, site, "submit")


def _campaign(
    folder: Path, path: Path, options: argparse.Namespace, site: Site, cases: Sequence[Case]
) -> Campaign:
    """Return the campaign of the folder with these cases.

    Errors: UserError if the folder holds another sweep.
    """
    before = load_campaign(folder)
    sweep = path.resolve()
    if before and before.sweep != sweep and before.sweep.exists():
        raise UserError(f"{folder} holds the sweep {before.sweep}: give another --out")
    by_path = options.site and site.name != options.site
    return Campaign(
        folder=folder,
        sweep=sweep,
        sha256=sha256(path),
        settings=tuple(options.set),
        site=str(Path(options.site).resolve()) if by_path else site.name,
        entries=merge_entries(
            before.entries if before else (), cases, history(folder / JOBS), array_size(site)
        ),
    )


def skipped_lines(snapshot: Snapshot) -> list[str]:
    """Return a line for each reason why cases are not submitted."""
    skipped = [x for x in snapshot.states if x.in_progress or x.state not in SUBMITTED]
    counts = Counter("in progress" if x.in_progress else x.state for x in skipped)
    lines = [f"left out: {n} {state}" for state, n in counts.items()]
    remedy = f", python -m slurm.retry {snapshot.campaign.folder} runs them again"
    return [f"{x}{remedy}" if x.endswith(FAILED) else x for x in lines]


def submit_cases(snapshot: Snapshot, entries: Sequence[Entry], site: Site, command: str) -> int:
    """Run cases on a site and return the exit code. Errors: UserError."""
    if site.scheduler == NONE:
        from slurm.local import run_here

        return run_here(snapshot.campaign, entries, site, command)
    from slurm.arrays import queue_arrays

    return queue_arrays(snapshot, entries, site, command)


def dry_run(snapshot: Snapshot, entries: Sequence[Entry], site: Site) -> int:
    """Print the jobs or commands that would run and return the exit code. Errors: UserError."""
    if site.scheduler == NONE:
        from slurm.local import show_commands

        return show_commands(snapshot.campaign, entries, site)
    from slurm.arrays import show_arrays

    return show_arrays(snapshot, entries, site)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    return run(submit, argv, acts=True, program="slurm.submit")


if __name__ == "__main__":
    sys.exit(main())
