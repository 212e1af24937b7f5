"""What the page can be filtered by, and which runs stand behind the rows of its tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.common.text import NONE, Setting, TextTable, setting_label
from bench.reporting.cases import Section
from bench.reporting.chapter import Source
from bench.reporting.digest import Digest
from bench.results.schema import COMPLETE

NOTHING = "none"
"""The value of a setting that was not made."""
FIRST = ("task", "algorithm", "partition", "workers", "ranks")
LAST = ("seed", "status")
MOST = 40
"""More values than these are for the search, not for a list."""
MOST_FACETS = 8
"""More settings that vary are for the search, too."""


@dataclass(frozen=True)
class Facet:
    """A setting that varies, and which of its values each source has."""

    name: str
    values: list[str]
    of: list[int]
    """For every source of the page the place of its value, -1 where it has none."""


def facts(run: Digest) -> dict[str, str]:
    """Everything that a run can be chosen by: a name -> its value."""
    row = run.row
    settings: dict[str, Setting] = {"task": row["task"], **run.settings, "seed": row["seed"]}
    made = {name: NOTHING if x is None else str(x) for name, x in settings.items()}
    return made | {"status": str(row["status"])}


def facets(sources: Sequence[Source]) -> list[Facet]:
    """The facts that vary, in the order in which they are asked for; few, of few values each."""
    names = dict.fromkeys(name for source in sources for name in source.facts)
    varying = {}
    for name in names:
        values = sorted({x.facts[name] for x in sources if name in x.facts}, key=_order)
        if 1 < len(values) <= MOST:
            varying[name] = values
    kept = sorted(varying, key=lambda name: name not in FIRST + LAST)[:MOST_FACETS]
    made = []
    for name in sorted(kept, key=_place):
        places = {value: i for i, value in enumerate(varying[name])}
        of = [places[x.facts[name]] if name in x.facts else -1 for x in sources]
        made.append(Facet(name.replace("_", " "), varying[name], of))
    return made


def _place(name: str) -> tuple[int, int]:
    if name in FIRST:
        return 0, FIRST.index(name)
    return (2, LAST.index(name)) if name in LAST else (1, 0)


def _order(value: str) -> tuple[bool, float, str]:
    try:
        return False, float(value), value
    except ValueError:
        return True, 0.0, value


def behind(section: Section, table: TextTable) -> list[list[int]]:
    """For each row of a table of the section the places of its runs; none where it names no run.

    A row speaks of the runs that agree with it: with its cells in the columns that are named after
    a setting, with the settings that its heading and its other words name, and with its status.
    """
    words = [x.replace(" ", "_") if x not in section.varying else x for x in table.header]
    columns = {x: i for i, x in enumerate(words[: table.words]) if x in section.varying}
    index = {x: _index(section, x, exact=x in columns) for x in section.varying}
    states = _states(section) if "status" in words else {}
    found = []
    for row in table.rows:
        others = [row[i] for i in range(table.words) if i not in columns.values()]
        text = f", {table.heading}, {', '.join(x.partition(' [')[0] for x in others)}, "
        agreed = []
        if states:
            state = row[words.index("status")]
            agreed.append(states.get(COMPLETE if state.startswith(COMPLETE) else state, set()))
        for name, runs in index.items():
            if name in columns:
                agreed.append(runs.get(row[columns[name]], set()))
            elif spoken := [some for said, some in runs.items() if f", {said}, " in text]:
                agreed.append(set().union(*spoken))
        found.append(sorted(set.intersection(*sorted(agreed, key=len))) if agreed else [])
    return found


def _index(section: Section, name: str, exact: bool) -> dict[str, set[int]]:
    """The runs by the text of a setting: as in a cell, or as a person says it."""
    index: dict[str, set[int]] = {}
    for place, run in enumerate(section.runs):
        value = run.settings[name]
        cell = NONE if value is None else str(value)
        index.setdefault(cell if exact else setting_label(name, value), set()).add(place)
    return index


def _states(section: Section) -> dict[str, set[int]]:
    """The runs by the status cell of their case: complete, or one run alone that is not."""
    index: dict[str, set[int]] = {}
    for place, run in enumerate(section.runs):
        state = str(run.row["status"])
        said = COMPLETE if state == COMPLETE else f"{state} [seed {run.row['seed']}]"
        index.setdefault(said, set()).add(place)
    return index
