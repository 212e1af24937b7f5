"""Cases handed over: to Slurm, a job array a geometry, or to mpirun on this machine."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import replace

from bench.common.words import plain
from slurm import ledger, local, overview
from slurm.campaign import Campaign, Entry
from slurm.ledger import submitted
from slurm.program import CHECKOUT
from slurm.site import NONE, Site
from slurm.states import Look, look
from slurm.telling import Teller

FAILED = 1
"""The exit code where a case did not end well, or Slurm refused in the middle."""


def hand_over(seen: Look, entries: Sequence[Entry], site: Site, command: str) -> int:
    """Have cases run on a site; return the exit code. Errors: UserError."""
    if site.scheduler == NONE:
        return here(seen.campaign, entries, site, command)
    from slurm.arrays import queue_arrays

    return queue_arrays(seen, entries, site, command)


def here(campaign: Campaign, entries: Sequence[Entry], site: Site, command: str) -> int:
    """Run cases on this machine, the folder in hand, and print how all stand; the exit code."""
    name = ledger.fresh_name(campaign.sweep.stem, "local")
    elements = {i: entry.case.hash for i, entry in enumerate(entries)}
    made = submitted(name, "", elements, campaign.site, NONE, command)
    made = replace(made, job=str(os.getpid()))
    local.command(entries[0], campaign.folder, local.python(site))  # no mpirun: told before
    ledger.add_submission(campaign.jobs, made)
    teller = Teller(campaign.folder, list(entries))
    stopped = local.run(campaign.folder, entries, made, site, CHECKOUT, teller)
    seen = look(campaign, mine=True)
    overview.show(seen)
    if stopped:
        teller.say("stopped: what has ended is kept, the same command goes on from here")
        return 128 + stopped
    teller.say(f"the report: python -m slurm.collect {campaign.folder}")
    return 0 if all(x.finished for x in seen.states) else FAILED


def dry_run(seen: Look, entries: Sequence[Entry], site: Site) -> int:
    """Print what would be handed over, and to whom; return the exit code. Errors: UserError."""
    if site.scheduler != NONE:
        from slurm.arrays import show_arrays

        return show_arrays(seen, entries, site)
    for entry in entries:
        print(plain(shlex.join(local.command(entry, seen.campaign.folder, local.python(site)))))
    return 0
