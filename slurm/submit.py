"""Hand a sweep over to Slurm, or run it here by mpirun: `python -m slurm.submit FILE.toml`."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bench.common.cli import Parser, run
from bench.common.spec import UserError
from bench.common.text import printable
from bench.results.schema import DIED, FAILED
from slurm.campaign import JOBS, Campaign, Entry, chosen_folder, merged, opened, sha256
from slurm.case import Case
from slurm.ledger import held, history
from slurm.queue import need_slurm
from slurm.site import NONE, SLURM, Site, find, load
from slurm.states import CANCELLED, MISSING, PREEMPTED, Look

AGAIN = (MISSING, PREEMPTED, CANCELLED, DIED)
"""How cases stand that submit takes; what failed would fail again, and is for slurm.retry."""


def parser() -> argparse.ArgumentParser:
    """The command line of slurm.submit."""
    made = Parser(
        prog="python -m slurm.submit",
        description="Check every case of a sweep file, then hand them over: a job array for cases "
        "that ask for the same, the largest first, and behind them a job that makes the report. "
        "Without Slurm, or with --site local, they run here by mpirun, one after the other. Cases "
        "that are under way or have a result are left out, so the same command again runs nothing "
        "twice, and goes on with what was cancelled or has died.",
        epilog="Example: python -m slurm.submit slurm/sweeps/demo.toml. Then slurm.status, cancel, "
        "retry and collect of the same file. Exit code: 0, of a run on this machine where all is "
        "complete or diverged; 1 where a case failed, or Slurm refused in the middle; 2 for a "
        "mistake, found before anything is queued; 130, 143 where a signal ended it.",
        allow_abbrev=False,
    )
    made.add_argument("file", metavar="FILE.toml", help="the sweep")
    made.add_argument(
        "--site",
        metavar="NAME",
        help="where jobs run: a file of slurm/sites or the path of one (default: by the name of "
        "cluster or host, else local)",
    )
    made.add_argument(
        "--out",
        metavar="DIR",
        help="folder of results, scripts and ledger (default: runs/sweeps, or the "
        "site's scratch, and the file's name)",
    )
    made.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option that replaces or joins those of the file's top level",
    )
    made.add_argument(
        "--dry-run",
        action="store_true",
        help="write and show the scripts and the commands, hand nothing over",
    )
    return made


def submit(argv: Sequence[str]) -> int:
    """Check, show and hand over what is not there yet; return the exit code. Errors: UserError."""
    given = parser().parse_args(argv)
    path = Path(given.file)
    if path.is_dir():
        raise UserError(f"{path} is a folder: name the sweep file, a .toml")
    site = load(given.site) if given.site else find(os.environ)
    from slurm.plan import plan
    from slurm.states import look
    from slurm.status import counted
    from slurm.table import show

    if site.scheduler == SLURM and not given.dry_run:
        need_slurm(site.name)
    cases = plan(path, site, given.set)
    folder = chosen_folder(path, site, given.out).resolve()
    with held(folder / JOBS, "slurm.submit"):
        campaign = _campaign(folder, path, given, site, cases)
        seen = look(campaign, mine=True)
        chosen = [x.entry for x in seen.states if x.state in AGAIN and not x.under_way]
        chosen_hashes = {x.case.hash for x in chosen}
        there = {x.entry.case.hash: x.state for x in seen.states}
        show(cases, {x: state for x, state in there.items() if x not in chosen_hashes}, folder)
        for line in left_out(seen):
            print(printable(line))
        if given.dry_run:
            return dry_run(seen, chosen, site)
        campaign.save()
        if not chosen:
            print(f"nothing to submit: {counted(seen.states)}")
            return 0
        return hand_over(seen, chosen, site, "submit")


def _campaign(
    folder: Path, path: Path, given: argparse.Namespace, site: Site, cases: Sequence[Case]
) -> Campaign:
    """What the folder is to hold. Errors: UserError where it holds another sweep."""
    before = opened(folder)
    sweep = path.resolve()
    if before and before.sweep != sweep and before.sweep.exists():
        raise UserError(f"{folder} holds the sweep {before.sweep}: give another --out")
    return Campaign(
        folder=folder,
        sweep=sweep,
        sha256=sha256(path),
        settings=tuple(given.set),
        site=str(Path(given.site).resolve())
        if site.name != given.site and given.site
        else site.name,
        entries=merged(before.entries if before else (), cases, history(folder / JOBS)),
    )


def left_out(seen: Look) -> list[str]:
    """A line for each reason why cases are not handed over."""
    some = [x for x in seen.states if x.under_way or x.state not in AGAIN]
    counts = Counter("under way" if x.under_way else x.state for x in some)
    lines = [f"left out: {n} {state}" for state, n in counts.items()]
    way = f", python -m slurm.retry {seen.campaign.folder} runs them again"
    return [f"{x}{way}" if x.endswith(FAILED) else x for x in lines]


def hand_over(seen: Look, entries: Sequence[Entry], site: Site, command: str) -> int:
    """Run cases on a site and return the exit code. Errors: UserError."""
    if site.scheduler == NONE:
        from slurm.local import run_here

        return run_here(seen.campaign, entries, site, command)
    from slurm.arrays import queue_arrays

    return queue_arrays(seen, entries, site, command)


def dry_run(seen: Look, entries: Sequence[Entry], site: Site) -> int:
    """Print the jobs or commands that would run and return the exit code. Errors: UserError."""
    if site.scheduler == NONE:
        from slurm.local import show_commands

        return show_commands(seen.campaign, entries, site)
    from slurm.arrays import show_arrays

    return show_arrays(seen, entries, site)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    return run(submit, argv)


if __name__ == "__main__":
    sys.exit(main())
