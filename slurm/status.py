"""Show the state of a submitted sweep: `python -m slurm.status SWEEP`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING

from bench.common.cli import run
from bench.common.summary import summarise
from bench.common.text import counted, format_duration, printable
from bench.results.schema import DIED, DIVERGED, FAILED
from slurm import queue
from slurm.campaign import find_campaign, folder_parser
from slurm.states import CANCELLED, MISSING, STATES, Snapshot, State

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

REPORTED = (FAILED, DIED, MISSING, CANCELLED, DIVERGED)
"""States whose cases are listed one by one, with their reasons."""
MAX_LINES = 12
"""Maximum number of listed cases of a state."""
EXIT_COMPLETE, EXIT_INCOMPLETE, EXIT_IN_PROGRESS = 0, 1, 3
"""Exit codes of slurm.status."""
STATUS = {EXIT_COMPLETE: "complete", EXIT_INCOMPLETE: "incomplete", EXIT_IN_PROGRESS: "in progress"}
"""Status in --json, by exit code."""


def show(snapshot: Snapshot) -> None:
    """Print the table of states, the reasons, the jobs and the remaining time."""
    from bench.sweep.running import console
    from slurm.inputs import changed_inputs

    output, campaign = console(), snapshot.campaign
    summarise_states(snapshot)
    output.print(state_table(snapshot.states))
    output.print()
    lines = [
        *reasons(snapshot.states),
        summary(snapshot.states),
        *job_lines(snapshot.elements),
    ]
    if snapshot.holder:
        lines.append(f"{'runs here' if snapshot.runs_here else 'in use by'}: {snapshot.holder}")
    lines += remaining_time(snapshot.states)
    refused = sum(bool(x.case.refused) for x in campaign.entries)
    if refused:
        lines.append(f"{refused} more refused by their algorithms")
    if campaign.sweep_changed:
        lines.append(
            f"note: {campaign.sweep} has changed since it was submitted: "
            f"python -m slurm.submit {campaign.sweep}"
        )
    lines += [f"note: {line}" for line in changed_inputs(snapshot.states)]
    for line in lines:
        print_line(output, line)


def summarise_states(snapshot: Snapshot) -> None:
    """Add the folder, the number of cases by state, the cases and the jobs to the summary."""
    folder = snapshot.campaign.folder
    summarise(
        folder=folder,
        states=Counter(x.state for x in snapshot.states),
        rows=[
            {
                "case": x.entry.case.label,
                "state": x.state,
                "reason": x.reason,
                "in_progress": x.in_progress,
                "step": x.step,
                "steps": x.steps,
                "elapsed_s": x.elapsed_s,
                "file": x.entry.case.result(folder),
            }
            for x in snapshot.states
        ],
        jobs=list(dict.fromkeys(x.job for x in snapshot.elements)),
    )


def print_line(output: Console, line: str) -> None:
    """Print a line of text without markup."""
    output.print(printable(line), markup=False, soft_wrap=True)


def state_table(states: Sequence[State]) -> Table:
    """Return a table of counts: a row for all seeds of a case, a column for each state."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from slurm.table import group_by_seed, option_value, seed_list, varying_options

    cases, by_case = [x.entry.case for x in states], {x.entry.case.hash: x for x in states}
    columns = [x for x in STATES if any(one.state == x for one in states)]
    names = varying_options(cases)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False)
    for name in (*names, "seeds"):
        table.add_column(Text(printable(name.replace("_", " "))), overflow="fold")
    for name in ("ranks", *columns):
        table.add_column(Text(name), justify="right")
    for group in group_by_seed(cases):
        members = [by_case[case.hash] for case in group]
        cells = [option_value(group[0], name) for name in names]
        cells += [seed_list(group), str(group[0].geometry.ranks)]
        cells += [_count([x for x in members if x.state == state]) for state in columns]
        bad = any(x.state in (FAILED, DIED) for x in members)
        table.add_row(*(Text(printable(x)) for x in cells), style="bold red" if bad else "")
    return table


def _count(states: Sequence[State]) -> str:
    """Return the number of cases, and the steps taken by unfinished trainings."""
    if not states:
        return ""
    steps = sum(x.steps for x in states)
    if states[0].finished or not steps or not sum(x.step for x in states):
        return str(len(states))
    return f"{len(states)} ({sum(x.step for x in states)} of {counted(steps, 'step')})"


def reasons(states: Sequence[State]) -> list[str]:
    """Return a line for each case that did not end well, at most MAX_LINES of a state."""
    lines = []
    for state in REPORTED:
        cases = [x for x in states if x.state == state]
        # The summary counts the cases that were never submitted.
        listed = [x for x in cases if state != MISSING or x.reason != "not submitted yet"]
        lines += [_state_line(x) for x in listed[:MAX_LINES]]
        if len(listed) > MAX_LINES:
            lines.append(f"{state}: and {len(listed) - MAX_LINES} more")
    return lines


def unfinished_lines(states: Sequence[State]) -> list[str]:
    """Return a line for each case without a finished result."""
    return [_state_line(x) for x in states if not x.finished]


def _state_line(state: State) -> str:
    reason = f": {state.reason}" if state.reason else ""
    return f"{state.state}: {state.entry.case.label}{reason}"


def summary(states: Sequence[State]) -> str:
    """Return the number of cases, and of cases in each state."""
    counts = Counter(x.state for x in states)
    parts = [f"{counts[x]} {x}" for x in STATES if counts[x]]
    return f"{counted(len(states), 'case')}: {', '.join(parts)}"


def job_lines(elements: Sequence[queue.Element]) -> list[str]:
    """Return a line for each job in the queue: its nodes, or the reason why it is pending."""
    lines = []
    for job in sorted({x.job for x in elements}, key=int):
        members = [x for x in elements if x.job == job]
        pending = Counter(x.reason for x in members if x.pending)
        running = [x for x in members if not x.pending]
        nodes = ", ".join(dict.fromkeys(x.nodes for x in running))
        parts = [f"{len(running)} running on {nodes}"] if running else []
        parts += [f"{n} waiting ({reason})" for reason, n in pending.items()]
        lines.append(f"job {job}  {members[0].name}  {', '.join(parts)}")
    return lines


def remaining_time(states: Sequence[State]) -> list[str]:
    """Return a line with the remaining time, estimated from finished cases on as many ranks."""
    active = [x for x in states if x.in_progress]
    times: dict[int, list[float]] = {}
    for state in states:
        if state.finished and state.elapsed_s:
            times.setdefault(state.entry.case.geometry.ranks, []).append(state.elapsed_s)
    if not active:
        return []
    limit = sum(x.entry.case.geometry.minutes * 60 for x in active)
    line = f"left: {counted(len(active), 'case')}, "
    line += f"at most {format_duration(limit)} one after the other"
    if times:
        any_case = median(x for some in times.values() for x in some)
        typical = {ranks: median(some) for ranks, some in times.items()}
        rest = sum(
            typical.get(x.entry.case.geometry.ranks, any_case)
            * (1 - min(x.step / x.steps, 1) if x.steps else 1)
            for x in active
        )
        line += f", about {format_duration(rest)} by the finished cases"
    return [line]


def exit_code(states: Sequence[State]) -> int:
    """Return the exit code: all complete, some not, or some still in progress."""
    if any(x.in_progress for x in states):
        return EXIT_IN_PROGRESS
    return EXIT_COMPLETE if all(x.finished for x in states) else EXIT_INCOMPLETE


def status(argv: Sequence[str]) -> int:
    """Print the state of each case and return the exit code. Errors: UserError."""
    options = folder_parser(
        "status",
        "Show the state of each case of a submitted sweep, from its result, the queue and the "
        "ledger of the folder: complete, diverged, running, queued, preempted (stopped with a "
        "checkpoint, will resume), cancelled, failed, died (its process is gone), missing.",
        "Example: python -m slurm.status slurm/sweeps/demo.toml. Exit code: 0 if every case is "
        "complete or diverged, 1 if some are not and none is in progress, 3 while some are in "
        "progress, 2 for a mistake.",
    ).parse_args(argv)
    from slurm.states import take_snapshot

    snapshot = take_snapshot(find_campaign(options.path, options.out))
    show(snapshot)
    code = exit_code(snapshot.states)
    summarise(status=STATUS[code])
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    return run(status, argv, program="slurm.status")


if __name__ == "__main__":
    sys.exit(main())
