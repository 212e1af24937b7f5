"""How a submitted sweep stands: `python -m slurm.status SWEEP`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from statistics import median

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.common.cli import run
from bench.common.text import format_duration, printable
from bench.results.schema import DIED, DIVERGED, FAILED
from bench.sweep.running import console
from slurm import queue
from slurm.campaign import folder_parser, submitted_at
from slurm.states import CANCELLED, MISSING, STATES, Look, State
from slurm.table import rows, seeds, value, varying

TOLD = (FAILED, DIED, MISSING, CANCELLED, DIVERGED)
"""States that are told case by case, with their reasons."""
MOST = 12
"""So many cases of a state at most."""
ALL_COMPLETE, SOMETHING_MISSING, UNDER_WAY = 0, 1, 3
"""Exit codes of slurm.status."""


def show(seen: Look) -> None:
    """Print the table, the reasons, and what is under way."""
    shown, campaign = console(), seen.campaign
    shown.print(table(seen.states))
    shown.print()
    lines = [*reasons(seen.states), counted(seen.states), *jobs(seen.elements)]
    if seen.holder:
        lines.append(f"{'runs here' if seen.runs_here else 'in the hands of'}: {seen.holder}")
    lines += left(seen.states)
    refused = sum(bool(x.case.refused) for x in campaign.entries)
    if refused:
        lines.append(f"{refused} more refused by their algorithms")
    if campaign.changed:
        lines.append(
            f"note: {campaign.sweep} has changed since it was submitted: "
            f"python -m slurm.submit {campaign.sweep}"
        )
    for line in lines:
        say(shown, line)


def say(shown: Console, line: str) -> None:
    """Print a line of text as it is."""
    shown.print(printable(line), markup=False, soft_wrap=True)


def table(states: Sequence[State]) -> Table:
    """A row for all cases that differ in nothing but the seed: how many stand how."""
    cases, by_case = [x.entry.case for x in states], {x.entry.case.hash: x for x in states}
    there = [x for x in STATES if any(one.state == x for one in states)]
    names = varying(cases)
    made = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False)
    for name in (*names, "seeds"):
        made.add_column(Text(printable(name.replace("_", " "))), overflow="fold")
    for name in ("ranks", *there):
        made.add_column(Text(name), justify="right")
    for row in rows(cases):
        some = [by_case[case.hash] for case in row]
        cells = [*(value(row[0], name) for name in names), seeds(row), str(row[0].geometry.ranks)]
        cells += [_cell([x for x in some if x.state == state]) for state in there]
        bad = any(x.state in (FAILED, DIED) for x in some)
        made.add_row(*(Text(printable(x)) for x in cells), style="bold red" if bad else "")
    return made


def _cell(some: Sequence[State]) -> str:
    """How many there are, and how far those have come that count steps."""
    if not some:
        return ""
    steps = sum(x.steps for x in some)
    if some[0].finished or not steps or not sum(x.step for x in some):
        return str(len(some))
    return f"{len(some)} ({sum(x.step for x in some)} of {steps} steps)"


def reasons(states: Sequence[State]) -> list[str]:
    """A line for each case that has not ended well, with the reason; MOST of a kind."""
    made = []
    for state in TOLD:
        some = [x for x in states if x.state == state]
        # Cases that wait for their first submission are told by their number.
        told = [x for x in some if state != MISSING or x.reason != "not submitted yet"]
        made += [_told(x) for x in told[:MOST]]
        if len(told) > MOST:
            made.append(f"{state}: and {len(told) - MOST} more")
    return made


def unfinished(states: Sequence[State]) -> list[str]:
    """A line for every case without a finished result."""
    return [_told(x) for x in states if not x.finished]


def _told(state: State) -> str:
    why = f": {state.reason}" if state.reason else ""
    return f"{state.state}: {state.entry.case.label}{why}"


def counted(states: Sequence[State]) -> str:
    """How many cases there are, and how they stand."""
    counts = Counter(x.state for x in states)
    parts = [f"{counts[x]} {x}" for x in STATES if counts[x]]
    return f"{len(states)} case{'s' if len(states) != 1 else ''}: {', '.join(parts)}"


def jobs(elements: Sequence[queue.Element]) -> list[str]:
    """A line a job of the queue: what runs where, what waits and why."""
    made = []
    for job in sorted({x.job for x in elements}, key=int):
        some = [x for x in elements if x.job == job]
        waits = Counter(x.reason for x in some if x.waits)
        runs = [x for x in some if not x.waits]
        parts = [f"{len(runs)} running on {', '.join(dict.fromkeys(x.nodes for x in runs))}"]
        parts = (parts if runs else []) + [f"{n} waiting ({why})" for why, n in waits.items()]
        made.append(f"job {job}  {some[0].name}  {', '.join(parts)}")
    return made


def left(states: Sequence[State]) -> list[str]:
    """A line for the time that is left, by what cases on as many ranks have taken."""
    waiting = [x for x in states if x.under_way]
    took: dict[int, list[float]] = {}
    for state in states:
        if state.finished and state.took_s:
            took.setdefault(state.entry.case.geometry.ranks, []).append(state.took_s)
    if not waiting:
        return []
    limit = sum(x.entry.case.geometry.minutes * 60 for x in waiting)
    line = f"left: {len(waiting)} cases, at most {format_duration(limit)} one after the other"
    if took:
        any_case = median(x for some in took.values() for x in some)
        typical = {ranks: median(some) for ranks, some in took.items()}
        rest = sum(
            typical.get(x.entry.case.geometry.ranks, any_case)
            * (1 - min(x.step / x.steps, 1) if x.steps else 1)
            for x in waiting
        )
        line += f", some {format_duration(rest)} by those that have ended"
    return [line]


def code(states: Sequence[State]) -> int:
    """The exit code: whether all is complete, something is missing, or it still goes on."""
    if any(x.under_way for x in states):
        return UNDER_WAY
    return ALL_COMPLETE if all(x.finished for x in states) else SOMETHING_MISSING


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
    from slurm.states import look

    seen = look(submitted_at(given.path, given.out))
    show(seen)
    return code(seen.states)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    return run(status, argv)


if __name__ == "__main__":
    sys.exit(main())
