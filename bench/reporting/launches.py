"""Many launches of a program that measures: put in order, and their medians.

A launch is one file. What differs from launch to launch, where pages and processes happen to lie,
is most of the spread, so where there are several the median and its interval are over launches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from bench.common.text import Setting, setting_label
from bench.reporting.chapter import Source
from bench.reporting.training.runs import order, shared
from bench.results.origin import hosts, machine
from bench.results.reader import Run
from bench.results.schema import COMPLETE
from bench.results.statistics import median_interval

if TYPE_CHECKING:
    import pandas as pd

Row: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Launch:
    """One file of a program that measures, small enough to hold hundreds of."""

    settings: dict[str, Setting]
    """What it ran with and on: launches of equal settings are repetitions."""
    rows: list[Row]
    """Every derived number; see bench.results.calls and bench.results.rounds."""
    source: Source
    curves: list[dict[str, list[float]]] = field(default_factory=list)
    """Beside the rows, where they have curves: a list of points, by name."""


@dataclass(frozen=True)
class Group:
    """Launches that differ in nothing that was set."""

    condition: str
    """What sets it apart from the other groups; empty for one alone."""
    launches: list[Launch]


def grouped(launches: Sequence[Launch]) -> tuple[str, list[Group]]:
    """What is the same in all launches, as a text; and the launches by what is not, sorted."""
    common, varying = shared([launch.settings for launch in launches])
    groups: dict[Any, list[Launch]] = {}
    for launch in sorted(launches, key=lambda x: (order(x.settings), x.source.label)):
        groups.setdefault(order(launch.settings), []).append(launch)
    return ", ".join(setting_label(x, value) for x, value in common.items()), [
        Group(
            ", ".join(
                setting_label(x, y) for x in varying if (y := some[0].settings[x]) not in (None, "")
            ),
            some,
        )
        for some in groups.values()
    ]


def surroundings(run: Run) -> dict[str, Setting]:
    """What a launch ran on, as settings."""
    version = run.attributes.get("suite_version")
    return {
        "hosts": _layout(list(hosts(run).values())),
        "mpi library": " ".join(run.texts.get("mpi_library", "").partition(",")[0].split()),
        "processor": machine(run).get("processor"),
        "cores": f"{machine(run).get('cores', '?')} cores",
        "suite version": None if version is None else str(version),
        "binding": "shared cores" if run.attributes.get("binding_flaws") else "",
    }


def _layout(ranks: Sequence[int]) -> str:
    """How many hosts there are, and where it needs saying how many ranks each has."""
    if len(ranks) < 2:
        return "1 host" if ranks else ""
    each = f"{ranks[0]}" if len(set(ranks)) == 1 else " + ".join(map(str, ranks))
    return f"{len(ranks)} hosts of {each} {'rank' if each == '1' else 'ranks'}"


def median_row(rows: Sequence[Row], interval: Mapping[str, tuple[str, str]]) -> Row:
    """One row of the same thing in several launches: the median of every number.

    interval: number -> the names of the ends of its interval, which becomes that of the median
    over launches; a single launch keeps its own. `launches` says how many they are.
    """
    if len(rows) == 1:
        return rows[0] | {"launches": 1}
    made = dict(rows[0])
    for name, first in made.items():
        values = [row[name] for row in rows]
        if not isinstance(first, str) and any(value != first for value in values):
            made[name] = float(np.median(values))
    for name, ends in interval.items():
        _, low, high = median_interval(np.array([row[name] for row in rows], float))
        made |= dict(zip(ends, (low, high), strict=True))
    return made | {"launches": len(rows)}


def rows_frame(launches: Sequence[Launch], first: Sequence[str]) -> pd.DataFrame:
    """Every row of every launch with what it ran on; the columns `first` come first."""
    import pandas as pd

    made = [
        {name: row[name] for name in first} | row | _where(launch)
        for launch in launches
        for row in launch.rows
    ]
    return pd.DataFrame(made) if made else pd.DataFrame(columns=list(first))


def _where(launch: Launch) -> Row:
    where = {name.replace(" ", "_"): value for name, value in launch.settings.items()}
    return where | {"status": launch.source.status, "file": launch.source.provenance["file"]}


def repeats(launches: Sequence[Launch], groups: Iterable[Group], unit: str) -> list[str]:
    """What a reader must know of launches: where the intervals come from, and who did not end."""
    notes = []
    if any(len(group.launches) > 1 for group in groups):
        notes.append(
            "several launches: medians over launches with 95 % intervals, below 6 launches the "
            f"smallest and the largest; one launch: intervals over its {unit}"
        )
    states = Counter(launch.source.status for launch in launches)
    del states[COMPLETE]
    if states:
        count = ", ".join(f"{n} {status}" for status, n in sorted(states.items()))
        notes.append(
            f"not complete: {states.total()} of {len(launches)} files ({count}); what they have "
            "is in"
        )
    return notes
