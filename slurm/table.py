"""Plan of a sweep as a table: cases, geometry, time limits, estimates and states."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from statistics import median

from rich import box
from rich.table import Table
from rich.text import Text

from bench.common.text import counted, printable
from bench.results import contents
from bench.results.reader import BrokenFileError
from bench.results.schema import COMPLETE
from bench.sweep.running import console
from slurm.case import TRAIN, Case
from slurm.plan import DEFAULTS, kin

ATTRIBUTES = ("status", "params_json", "ranks", "attempt", "created_utc", "closed_utc")


def run_times(folder: Path, kins: Collection[str]) -> dict[str, list[float]]:
    """Return the seconds of complete runs by the kin of their case, without the program's start.

    Resumed runs and unreadable files are left out.
    """
    times: dict[str, list[float]] = {}
    for path in sorted(folder.glob("[!.]*.h5")):
        try:
            name, seconds = _run_time(path)
        except (BrokenFileError, KeyError, ValueError, TypeError, AttributeError):
            continue
        if name in kins:
            times.setdefault(name, []).append(seconds)
    return times


def _run_time(path: Path) -> tuple[str, float]:
    """Return the kin and seconds of a result; the kin is empty for a resumed run."""
    with contents.open_hdf5(path) as file:
        attributes = contents.attributes(file, ATTRIBUTES)
    if attributes["status"] != COMPLETE or int(attributes.get("attempt", 1)) > 1:
        return "", 0.0
    begin, end = (datetime.fromisoformat(attributes[x]) for x in ("created_utc", "closed_utc"))
    name = kin(json.loads(attributes["params_json"]), int(attributes["ranks"]))
    return name, (end - begin).total_seconds()


Times = Mapping[str, Sequence[float]]
"""Kin of a case -> seconds of its finished runs."""
TO_RUN = "to run"


def show(cases: Sequence[Case], states: Mapping[str, str], folder: Path) -> None:
    """Print a row for all seeds of a case, the reasons of refused cases, and the total.

    states: case hash -> state; cases without one are to run. Run times are estimated from the
    results in the folder.
    """
    times = run_times(folder, {case.kin for case in cases})
    output = console()
    output.print(plan_table(cases, states, times))
    output.print()
    refused = {
        f"refused: {_label_without_seed(case)}: {case.refused}": None
        for case in cases
        if case.refused
    }
    for line in (*refused, total(cases, states, times)):
        output.print(printable(line), markup=False, soft_wrap=True)


def plan_table(cases: Sequence[Case], states: Mapping[str, str], times: Times) -> Table:
    """Return a table with a row for all seeds of a case."""
    names = varying_options(cases)
    threads = any(case.geometry.threads > 1 for case in cases)
    left = [*names, "seeds"]
    right = ["ranks", "nodes", *(["cores a rank"] if threads else []), "minutes"]
    right += ["node-hours", *(["estimate"] if times else [])]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False)
    for name in (*left, *right, "state"):
        title = Text(printable(name.replace("_", " ")))
        table.add_column(title, justify="right" if name in right else "left", overflow="fold")
    for group in group_by_seed(cases):
        place, case = group[0].geometry, group[0]
        remaining = [x for x in group if _state(x, states) == TO_RUN]
        cells = [option_value(case, name) for name in names]
        cells += [seed_list(group), str(place.ranks), str(place.nodes)]
        cells += [str(place.threads)] if threads else []
        cells += [str(place.minutes), format_hours(_limit_hours(remaining)) if remaining else ""]
        cells += [format_hours(x) if (x := _estimate(remaining, times)) else ""] if times else []
        table.add_row(*map(Text, map(printable, [*cells, _group_state(group, states)])))
    return table


def varying_options(cases: Sequence[Case]) -> list[str]:
    """Return the options in which cases differ, without the seed; the program where it differs."""
    names = dict.fromkeys(name for case in cases for name in case.options if name != "seed")
    several = ["program"] if len({case.program for case in cases}) > 1 else []
    varying = [name for name in names if len({option_value(case, name) for case in cases}) > 1]
    return several + varying or (["algorithm"] if cases[0].program == TRAIN else ["program"])


def option_value(case: Case, name: str) -> str:
    """Return the value of an option of a case, or the default of its program."""
    if name == "program":
        return case.program
    return case.options.get(name, DEFAULTS[case.program].get(name, ""))


def group_by_seed(cases: Sequence[Case]) -> list[list[Case]]:
    """Return the cases in groups that differ only in the seed, in the order of the file."""
    groups: dict[tuple[object, ...], list[Case]] = {}
    for case in cases:
        place = replace(case.geometry, part=0)
        groups.setdefault((case.kin, place, case.refused), []).append(case)
    return list(groups.values())


def seed_list(cases: Sequence[Case]) -> str:
    """Return the seeds of some cases: `0`, `0, 1, 2`, `0 ... 99`."""
    seeds = [option_value(case, "seed") for case in cases]
    return ", ".join(seeds) if len(seeds) <= 5 else f"{seeds[0]} ... {seeds[-1]}"


def total(cases: Sequence[Case], states: Mapping[str, str], times: Times) -> str:
    """Return the number of cases in each state, and the node-hours of those to run."""
    counts = Counter(_state(case, states) for case in cases)
    parts = [f"{n} {state}" for state, n in counts.items()]
    remaining = [case for case in cases if _state(case, states) == TO_RUN]
    line = f"{counted(len(cases), 'case')}: {', '.join(parts)}"
    if remaining:
        line += f"; at most {format_hours(_limit_hours(remaining))} node-hours"
    measured = [case for case in remaining if case.kin in times]
    if measured:
        share = "" if len(measured) == len(remaining) else f" for {len(measured)} of them"
        line += f", about {format_hours(_estimate(measured, times))}{share} by finished runs"
    return line


def format_hours(hours: float) -> str:
    """Return hours with two digits or as a whole number: `0.08`, `1.5`, `120`."""
    return f"{hours:.2g}" if hours < 9.95 else f"{hours:,.0f}"


def _limit_hours(cases: Sequence[Case]) -> float:
    return sum(case.geometry.node_hours for case in cases)


def _estimate(cases: Sequence[Case], times: Times) -> float:
    """Return the node-hours by the median of finished runs; 0 without any."""
    measured = [case for case in cases if case.kin in times]
    return sum(case.geometry.nodes * median(times[case.kin]) / 3600 for case in measured)


def _state(case: Case, states: Mapping[str, str]) -> str:
    return "refused" if case.refused else states.get(case.hash, TO_RUN)


def _group_state(cases: Sequence[Case], states: Mapping[str, str]) -> str:
    counts = Counter(_state(case, states) for case in cases)
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{n} {state}" for state, n in counts.items())


def _label_without_seed(case: Case) -> str:
    return case.label.rpartition(", seed ")[0] or case.label
