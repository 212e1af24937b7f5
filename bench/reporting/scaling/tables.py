"""Tables of strong and weak scaling: a row a number of ranks, the base with its time first."""

from __future__ import annotations

import math

from bench.common.text import NONE, TextTable, format_number, setting_label
from bench.reporting.cases import Section
from bench.reporting.scaling.series import Row, Series, series
from bench.results.schema import COMPLETE
from bench.results.statistics import Interval

HEADER = ["algorithm", "ranks", "nodes", "step ms", "speedup", "eff. %", "Karp Flatt"]
HEADER += ["samples per s", "exchange ms", "launches"]
SERIAL = HEADER.index("Karp Flatt")


def tables(section: Section) -> list[TextTable]:
    """A table a kind of scaling, work and condition, with the rows of every algorithm."""
    together: dict[str, list[Series]] = {}
    for one in series(section):
        together.setdefault(title(one), []).append(one)
    return [_table(heading, some) for heading, some in together.items()]


def title(one: Series) -> str:
    """What a series keeps, as a heading: `strong scaling, 8 workers of batch 16, iid`."""
    return ", ".join(filter(None, (f"{one.kind} scaling", one.work, one.condition)))


def _table(heading: str, together: list[Series]) -> TextTable:
    rows = [_cells(one, row) for one in together for row in one.rows]
    refused = {
        f"no efficiency of {setting_label('ranks', row.point.ranks)}: {row.refused}": None
        for one in together
        for row in one.rows
        if row.refused
    }
    left = SERIAL if together[0].kind == "weak" else None
    shown = [[x for i, x in enumerate(cells) if i != left] for cells in (HEADER, *rows)]
    states = [COMPLETE] * len(rows)
    return TextTable(heading, shown[0], shown[1:], states, 2, foot=list(refused))


def _cells(one: Series, row: Row) -> list[str]:
    runs = row.point.runs
    base = row.point is one.base
    return [
        one.algorithm,
        str(row.point.ranks),
        str(row.point.nodes),
        _with_ends(row.step_ms),
        format_number(row.speedup, 3),
        "base" if base else _with_ends(row.efficiency, 100),
        _with_ends(row.serial),
        number(row.samples_per_s),
        format_number(row.middle("exchange_ms"), 3),
        str(len(runs)) if len(runs) > 1 else f"1 [{runs[0].timed} steps]",
    ]


def _with_ends(interval: Interval, times: float = 1) -> str:
    middle, low, high = (times * x for x in interval)
    return number(middle) + ("" if math.isnan(low) else ends(low, high))


def number(value: float) -> str:
    """Three digits, more of a large number, as a person writes it; a dash for NaN."""
    return f"{value:.0f}" if 1000 <= value < math.inf else format_number(value, 3)


def ends(low: float, high: float) -> str:
    """The second line of a cell: an interval of such numbers."""
    return f" [{number(low)}, {number(high)}]"


def notes(section: Section) -> list[str]:
    """What a reader of the tables must know; nothing where there are none."""
    made = series(section)
    if not made:
        return []
    points = [row.point for one in made for row in one.rows]
    lines = [
        "scaling: base is the smallest number of ranks; speedup: samples a second over the base's; "
        "efficiency: speedup over the growth in ranks, p0 T(p0) / (p T(p)) where the work of a "
        "step stays (strong), T(p0) / T(p) where that of a rank does (weak)"
    ]
    if any(one.kind == "strong" for one in made):
        lines.append(
            "Karp-Flatt: the part of the base's time that more ranks do not shorten; the same at "
            "all ranks it is serial work, rising with them it is what they cost"
        )
    if any(len(point.runs) > 1 for point in points):
        lines.append(
            "scaling, several launches: medians over launches [95 % intervals, below 6 launches "
            "smallest and largest]"
        )
    if any(len(row.point.runs) == 1 for one in made if not one.asynchronous for row in one.rows):
        lines.append(
            "scaling, one launch: intervals over its steps; what differs from launch to launch is "
            "not in them"
        )
    lines += _special(made)
    return lines


def _special(made: list[Series]) -> list[str]:
    lines = []
    if any(row.refused for one in made for row in one.rows):
        lines.append(f"{NONE} for efficiency: threads or binding are not those of the base")
    loose = sorted({one.algorithm for one in made if one.asynchronous})
    if loose:
        lines.append(
            f"asynchronous, {', '.join(loose)}: step ms is the training time, warm-up included, in "
            "which all workers together take as many steps as there are workers; one launch has "
            "no interval"
        )
    return lines
