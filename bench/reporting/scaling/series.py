"""Training runs as series over ranks: time a step, efficiency, Karp-Flatt, or why there is none."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from bench.common.text import NONE, TextTable, format_number, setting_label
from bench.reporting.training.runs import Digest, Place, Point, Section, order, points, unlike
from bench.results.schema import COMPLETE
from bench.results.statistics import Interval, median_interval, ratio_interval

Kind = Literal["strong", "weak"]
OWN = ("workers", "ranks", "batch", "threads", "steps", "target", "eval_every", "warmup")
"""Settings that a series may differ in: what scaling is about, and what is not in a step."""
UNKNOWN = (math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Row:
    """A point measured against the base of its series."""

    kind: Kind
    point: Point
    step_ms: Interval
    """Time in which every worker takes a step, once on average where asynchronous."""
    ratio: Interval
    """step_ms over that of the base; NaN where it is refused."""
    growth: float
    """Ranks over those of the base."""
    refused: str
    """Why there is no ratio; empty where there is one."""

    @property
    def speedup(self) -> float:
        """How many times as many samples a second as the base."""
        return (1 if self.kind == "strong" else self.growth) / self.ratio[0]

    @property
    def efficiency(self) -> Interval:
        """Strong scaling p0 T(p0) / (p T(p)), weak scaling T(p0) / T(p)."""
        part = self.growth if self.kind == "strong" else 1.0
        mid, low, high = (1 / (part * x) if x else math.nan for x in self.ratio)
        return mid, high, low

    @property
    def serial(self) -> Interval:
        """Karp, Flatt, CACM 33 (1990): (1/psi - 1/q) / (1 - 1/q), psi the speedup, q the growth.

        The part of the base's time that more ranks do not shorten; NaN for weak scaling and where
        the ranks are not more.
        """
        if self.kind == "weak" or self.growth <= 1:
            return UNKNOWN
        least = 1 / self.growth
        mid, low, high = ((x - least) / (1 - least) for x in self.ratio)
        return mid, low, high

    @property
    def samples_per_s(self) -> float:
        """Samples a second of all workers together: those of a step by its median time."""
        return 1e3 * self.point.workers * self.point.batch / self.step_ms[0]

    def middle(self, name: str) -> float:
        """Median over launches of a number of Run.row()."""
        return float(np.median([run.row.number(name) for run in self.point.runs]))


@dataclass(frozen=True)
class Series:
    """The same job on more and more ranks; the base is its smallest that others are bound like."""

    kind: Kind
    work: str
    """What stays the same: `8 workers of batch 16`, `1 worker a rank of batch 16`."""
    condition: str
    """What else sets it apart but the algorithm; may be empty."""
    algorithm: str
    asynchronous: bool
    base: Point
    rows: list[Row]


def series(section: Section) -> list[Series]:
    """All series of a section, of two numbers of ranks at least: strong first, then by condition.

    A point stands in every series that it fits: some make a strong and a weak one.
    """
    found: dict[tuple[Any, ...], list[Point]] = {}
    for rest, some in _timed(section).items():
        for point in some:
            for kind, work in _works(point):
                found.setdefault((kind, work, rest), []).append(point)
    made = [
        _series(section, kind, work, part)
        for (kind, work, _), points in found.items()
        for part in _apart(points)
        if len({point.ranks for point in part}) > 1
    ]
    return sorted(made, key=lambda x: (x.kind, x.condition, x.base.workers, x.work, x.algorithm))


def _timed(section: Section) -> dict[tuple[Any, ...], list[Point]]:
    """The timed complete runs as points, by the settings that a series has in common."""
    runs: dict[tuple[Any, ...], list[Digest]] = {}
    for run in section.runs:
        row = run.row
        if row.status == COMPLETE and row.step_ms_p50 > 0:
            rest = order({x: y for x, y in run.settings.items() if x not in OWN})
            runs.setdefault(rest, []).append(run)
    return {rest: points(some) for rest, some in runs.items()}


def _works(point: Point) -> Iterable[tuple[Kind, str]]:
    """The work that does not change in each of the series a point may belong to."""
    each = Fraction(point.workers, point.ranks)
    whole = each.denominator == 1
    count = setting_label("workers", int(each)) if whole else f"{each} workers"
    text = f"{count} a rank"
    yield "strong", f"{setting_label('workers', point.workers)} of batch {point.batch}"
    yield "strong", f"{text}, {point.workers * point.batch} samples a step"
    yield "weak", f"{text} of batch {point.batch}"


def _apart(points: Sequence[Point]) -> list[list[Point]]:
    """The points by how they are bound; one that is bound like no other stays, to be refused."""
    alike: dict[Place, list[Point]] = {}
    for point in points:
        alike.setdefault(point.place, []).append(point)
    scaled = [some for some in alike.values() if len({x.ranks for x in some}) > 1]
    if not scaled:
        return [list(points)]
    alone = [x for some in alike.values() if some not in scaled for x in some]
    largest = max(scaled, key=len)
    return [[*some, *alone] if some is largest else some for some in scaled]


def _series(section: Section, kind: Kind, work: str, points: Sequence[Point]) -> Series:
    points = sorted(points, key=lambda x: (x.ranks, x.nodes))
    followed = [x for x in points if any(x.place == y.place and x.ranks != y.ranks for y in points)]
    base = (followed or points)[0]
    asynchronous = any(run.row.asynchronous for point in points for run in point.runs)
    start, rows = _step_ms(base, asynchronous), []
    for point in points:
        time, refused = _step_ms(point, asynchronous), unlike(point, base)
        ratio = UNKNOWN if refused else (1.0,) * 3 if point is base else ratio_interval(time, start)
        rows.append(Row(kind, point, time, ratio, point.ranks / base.ranks, refused))
    first, others = base.runs[0], [x for x in section.varying if x not in (*OWN, "algorithm")]
    condition = ", ".join(setting_label(x, first.settings[x]) for x in others)
    algorithm = str(first.settings["algorithm"])
    return Series(kind, work, condition, algorithm, asynchronous, base, rows)


def _step_ms(point: Point, asynchronous: bool) -> Interval:
    """Over launches; of one launch, over its steps; of an asynchronous one, no interval."""
    name = "s_per_sample" if asynchronous else "step_ms_p50"
    scale = 1e3 * point.workers * point.batch if asynchronous else 1
    rows = [run.row for run in point.runs]
    if len(rows) > 1:
        return median_interval(np.array([scale * row.number(name) for row in rows]))
    ends = (math.nan, math.nan)
    if not asynchronous:
        ends = (rows[0].step_ms_lo, rows[0].step_ms_hi)
    return scale * rows[0].number(name), *ends


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
