"""Launches of bench.collectives and bench.consensus, grouped by settings, and their medians.

A launch is one file. Most of the spread is between launches, because memory pages and processes
are placed differently in each. So with several launches, medians and intervals are over launches.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import numpy as np

from bench.common.text import Setting, counted, setting_label
from bench.reporting.chapter import Card, Source
from bench.reporting.training.sections import order, shared
from bench.results.rows import CollectiveRow, Column, ConsensusRow, Row
from bench.results.schema import COMPLETE
from bench.results.statistics import median_interval

if TYPE_CHECKING:
    import pandas as pd

R = TypeVar("R", bound=Row)
"""Type of the rows of a program."""


@dataclass(frozen=True)
class Launch(Generic[R]):
    """One file of a program that measures, small enough to keep hundreds in memory."""

    settings: dict[str, Setting]
    """Settings and environment; launches with equal settings are repetitions."""
    rows: list[R]
    """Settings and derived numbers; see bench.results.rows."""
    source: Source
    curves: list[dict[str, list[float]]] = field(default_factory=list)
    """Curve of each row, where rows have curves: name -> points."""


@dataclass(frozen=True)
class Group(Generic[R]):
    """Launches with equal settings."""

    condition: str
    """Settings that distinguish this group from the others; empty for a single group."""
    launches: list[Launch[R]]


@dataclass(frozen=True)
class Contestant(CollectiveRow):
    """An algorithm at a size: the medians over its launches, and its place in the contest."""

    each: Mapping[int, float]
    """Median of each launch by its number, us."""
    place: str = ""
    """`*` for the smallest at its size, `=` if the difference is not significant, else empty."""
    ahead: bool = False
    """True for the smallest if enough launches show that all others are slower."""

    @property
    def launches(self) -> int:
        """Number of launches."""
        return len(self.each)

    @property
    def competes(self) -> bool:
        """Report whether it is ranked: an algorithm of its own, with correct sums."""
        return not self.chosen and self.wrong <= 0


@dataclass(frozen=True)
class TopologyRow(ConsensusRow):
    """A topology in one launch, or its medians over several."""

    flags: Annotated[str, Column("", "flags of the measurement: !, ~, ?")]
    exact_after: Annotated[int, Column("1", "rounds to the exact mean; 0 if never")]
    seed: Annotated[int, Column("1", "seed of the start and of random links")]
    launches: int = 1
    ms_lo: float = math.nan
    """Lower end of the interval of ms_to_1e6 over several launches."""
    ms_hi: float = math.nan
    """Upper end of that interval."""


def group_launches(launches: Sequence[Launch[R]]) -> tuple[str, list[Group[R]]]:
    """Return the settings that all launches share, as a text, and the launches by the others."""
    common, varying = shared([launch.settings for launch in launches])
    groups: dict[Any, list[Launch[R]]] = {}
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


def median_columns(rows: Sequence[Row], interval: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """Return the columns of one row for several launches: the median of every number.

    interval: number -> names of the ends of its interval, which becomes that of the median over
    launches; a single launch keeps its own.
    """
    records = [row.record() for row in rows]
    columns = dict(records[0])
    if len(records) == 1:
        return columns
    for name, first in records[0].items():
        values = [record[name] for record in records]
        if not isinstance(first, str) and any(value != first for value in values):
            columns[name] = float(np.median(values))
    for name, ends in interval.items():
        _, low, high = median_interval(np.array([record[name] for record in records], float))
        columns |= dict(zip(ends, (low, high), strict=True))
    return columns


def rows_frame(launches: Sequence[Launch[R]], first: Sequence[str]) -> pd.DataFrame:
    """Return every row of every launch with its settings; the columns `first` come first."""
    import pandas as pd

    rows = [
        {name: record[name] for name in first} | record | _where(launch)
        for launch in launches
        for record in (row.record() for row in launch.rows)
    ]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=list(first))


def _where(launch: Launch[R]) -> dict[str, Any]:
    where = {name.replace(" ", "_"): value for name, value in launch.settings.items()}
    return where | {"status": launch.source.status, "file": launch.source.provenance["file"]}


def crowd(launches: Sequence[Launch[R]]) -> str:
    """Return a sentence about launches whose threads share cores; empty if there is none."""
    n = sum("oversubscribed" in str(x.settings["binding"]) for x in launches)
    among = counted(len(launches), "launch", "launches")
    return f"Oversubscribed: threads of {n:,} of {among} share cores." * bool(n)


def crowd_cards(launches: Sequence[Launch[R]]) -> list[Card]:
    """Return a card with the number of such launches; none if there is none."""
    n = sum("oversubscribed" in str(x.settings["binding"]) for x in launches)
    if not n:
        return []
    return [Card("oversubscribed", f"{n:,} of {len(launches):,}", "threads share cores", bad=True)]


def process_notes(provenances: Sequence[Mapping[str, str]]) -> list[str]:
    """Return notes on launches in the processes of an earlier one, and on ranks that died."""
    sharing, dead = (
        sum(bool(provenance.get(name)) for provenance in provenances)
        for name in ("processes", "lost")
    )
    of = f"of {counted(len(provenances), 'file')}"
    notes = []
    if sharing:
        notes.append(
            f"{sharing} {of} are of launches in the processes of an earlier one: their spread "
            "leaves out that between processes"
        )
    if dead:
        notes.append(f"{dead} {of} lost ranks during the run: see `lost` in the provenance")
    return notes


def launch_notes(launches: Sequence[Launch[R]], groups: Iterable[Group[R]], unit: str) -> list[str]:
    """Return notes on the source of the intervals and on launches that did not end."""
    notes = []
    if any(len(group.launches) > 1 for group in groups):
        notes.append(
            "several launches: medians over launches with 95 % intervals, with fewer than 6 "
            f"launches the smallest and the largest value; one launch: intervals over its {unit}"
        )
    notes += process_notes([launch.source.provenance for launch in launches])
    states = Counter(launch.source.status for launch in launches)
    del states[COMPLETE]
    if states:
        count = ", ".join(f"{n} {status}" for status, n in sorted(states.items()))
        notes.append(
            f"not complete: {states.total()} of {counted(len(launches), 'file')} ({count}); "
            "their rows so far are included"
        )
    return notes
