"""Training runs as scaling series: time per step, efficiency, Karp-Flatt metric, and tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from bench.common.text import NONE, TextTable, counted, format_number, setting_label
from bench.reporting.training.points import Place, Point, mismatch, points
from bench.reporting.training.runs import Digest
from bench.reporting.training.sections import Section, depends_on, order
from bench.results.schema import COMPLETE
from bench.results.statistics import Interval, median_interval, ratio_interval

Kind = Literal["strong", "weak"]
OWN = ("workers", "ranks", "batch", "threads", "hosts", "binding")
"""Settings in which the runs of a series may differ."""
LENGTHS = ("steps", "target", "eval_every", "warmup")
"""Settings in which they may differ if each point has one value only."""
UNKNOWN = (math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Row:
    """A point relative to the base of its series."""

    kind: Kind
    point: Point
    step_ms: Interval
    """Time in which every worker takes a step; for asynchronous algorithms, one step on average."""
    ratio: Interval
    """step_ms relative to the base; NaN if the comparison is refused."""
    growth: float
    """Ranks relative to the base."""
    refused: str
    """Reason for a missing ratio; empty if there is one."""

    @property
    def speedup(self) -> float:
        """Return the samples per second relative to the base."""
        return (1 if self.kind == "strong" else self.growth) / self.ratio[0]

    @property
    def efficiency(self) -> Interval:
        """Return p0 T(p0) / (p T(p)) for strong scaling, T(p0) / T(p) for weak scaling."""
        part = self.growth if self.kind == "strong" else 1.0
        mid, low, high = (1 / (part * x) if x else math.nan for x in self.ratio)
        return mid, high, low

    @property
    def serial(self) -> Interval:
        """Return the serial fraction of Karp, Flatt, CACM 33 (1990).

        (1/psi - 1/q) / (1 - 1/q) with the speedup psi and the growth q. NaN for weak scaling and
        for a point with no more ranks than the base.
        """
        if self.kind == "weak" or self.growth <= 1:
            return UNKNOWN
        least = 1 / self.growth
        mid, low, high = ((x - least) / (1 - least) for x in self.ratio)
        return mid, low, high

    @property
    def samples_per_s(self) -> float:
        """Return the samples per second of all workers."""
        return 1e3 * self.point.workers * self.point.batch / self.step_ms[0]

    def middle(self, name: str) -> float:
        """Return the median over launches of a column of the row."""
        return float(np.median([run.row.number(name) for run in self.point.runs]))


@dataclass(frozen=True)
class Series:
    """The same job on several numbers of ranks, relative to its base.

    The base is the smallest number of ranks that shares threads and binding with another point.
    """

    kind: Kind
    work: str
    """Work that is constant: `8 workers of batch 16`, `1 worker per rank of batch 16`."""
    condition: str
    """Other settings besides the algorithm; may be empty."""
    algorithm: str
    asynchronous: bool
    base: Point
    rows: list[Row]


def series(section: Section) -> list[Series]:
    """Return all series with at least two numbers of ranks: strong first, then by condition.

    A point belongs to every series that it fits, for example a strong and a weak one.
    """
    others = [x for x in section.runs[0].settings if x not in LENGTHS]
    own = [*OWN, *(x for x in LENGTHS if depends_on(section.runs, x, *others))]
    by_work: dict[tuple[Any, ...], list[Point]] = {}
    for rest, some in _timed(section, own).items():
        for point in some:
            for kind, work in _works(point):
                by_work.setdefault((kind, work, rest), []).append(point)
    result = [
        _series(section, kind, work, part, own)
        for (kind, work, _), points in by_work.items()
        for part in _apart(points)
        if len({point.ranks for point in part}) > 1
    ]
    return sorted(result, key=lambda x: (x.kind, x.condition, x.base.workers, x.work, x.algorithm))


def _timed(section: Section, own: Sequence[str]) -> dict[tuple[Any, ...], list[Point]]:
    """Return the timed complete runs as points, by the settings that a series shares.

    own: settings that may differ within a series.
    """
    runs: dict[tuple[Any, ...], list[Digest]] = {}
    for run in section.runs:
        row = run.row
        if row.status == COMPLETE and row.step_ms > 0:
            rest = order({x: y for x, y in run.settings.items() if x not in own})
            runs.setdefault(rest, []).append(run)
    return {rest: points(some) for rest, some in runs.items()}


def _works(point: Point) -> Iterable[tuple[Kind, str]]:
    """Yield the constant work of each series to which a point may belong."""
    each = Fraction(point.workers, point.ranks)
    whole = each.denominator == 1
    count = setting_label("workers", int(each)) if whole else f"{each} workers"
    text = f"{count} per rank"
    yield "strong", f"{setting_label('workers', point.workers)} of batch {point.batch}"
    yield "strong", f"{text}, {counted(point.workers * point.batch, 'sample')} per step"
    yield "weak", f"{text} of batch {point.batch}"


def _apart(points: Sequence[Point]) -> list[list[Point]]:
    """Split the points by binding; a point with a unique binding stays and is refused later."""
    alike: dict[Place, list[Point]] = {}
    for point in points:
        alike.setdefault(point.place, []).append(point)
    scaled = [some for some in alike.values() if len({x.ranks for x in some}) > 1]
    if not scaled:
        return [list(points)]
    alone = [x for some in alike.values() if some not in scaled for x in some]
    largest = max(scaled, key=len)
    return [[*some, *alone] if some is largest else some for some in scaled]


def _series(
    section: Section, kind: Kind, work: str, points: Sequence[Point], own: Sequence[str]
) -> Series:
    points = sorted(points, key=lambda x: (x.ranks, x.nodes))
    followed = [x for x in points if any(x.place == y.place and x.ranks != y.ranks for y in points)]
    base = (followed or points)[0]
    asynchronous = any(run.row.asynchronous for point in points for run in point.runs)
    start, rows = _step_ms(base), []
    for point in points:
        time, refused = _step_ms(point), mismatch(point, base)
        ratio = UNKNOWN if refused else (1.0,) * 3 if point is base else ratio_interval(time, start)
        rows.append(Row(kind, point, time, ratio, point.ranks / base.ranks, refused))
    first, rest = base.runs[0], [x for x in section.varying if x not in (*own, "algorithm")]
    condition = ", ".join(setting_label(x, first.settings[x]) for x in rest)
    algorithm = str(first.settings["algorithm"])
    return Series(kind, work, condition, algorithm, asynchronous, base, rows)


def _step_ms(point: Point) -> Interval:
    """Return the time of a step and its interval, over launches or over the steps of one launch."""
    rows = [run.row for run in point.runs]
    if len(rows) > 1:
        return median_interval(np.array([row.step_ms for row in rows]))
    return rows[0].step_ms, rows[0].step_ms_ci_lo, rows[0].step_ms_ci_hi


HEADER = ["algorithm", "ranks", "nodes", "step ms", "speedup", "eff. %", "Karp Flatt"]
HEADER += ["samples per s", "exchange ms", "launches"]
SERIAL = HEADER.index("Karp Flatt")


def tables(section: Section) -> list[TextTable]:
    """Return a table per kind of scaling, work and condition, with all algorithms."""
    together: dict[str, list[Series]] = {}
    for one in series(section):
        together.setdefault(title(one), []).append(one)
    return [_table(heading, some) for heading, some in together.items()]


def title(one: Series) -> str:
    """Return the constant properties of a series as a heading."""
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
        str(len(runs)) if len(runs) > 1 else f"1 [{counted(runs[0].timed, 'step')}]",
    ]


def _with_ends(interval: Interval, times: float = 1) -> str:
    middle, low, high = (times * x for x in interval)
    return number(middle) + ("" if math.isnan(low) else ends(low, high))


def number(value: float) -> str:
    """Return a number with three digits, or all integer digits from 1000 on; a dash for NaN."""
    return f"{value:.0f}" if 1000 <= value < math.inf else format_number(value, 3)


def ends(low: float, high: float) -> str:
    """Return the second line of a cell: an interval."""
    return f" [{number(low)}, {number(high)}]"


def notes(section: Section) -> list[str]:
    """Return explanations for readers of the tables; none without series."""
    all_series = series(section)
    if not all_series:
        return []
    points = [row.point for one in all_series for row in one.rows]
    lines = [
        "scaling: base is the smallest number of ranks; speedup: samples per second relative to "
        "the base; efficiency: speedup divided by the growth in ranks, p0 T(p0) / (p T(p)) for "
        "constant work per step (strong), T(p0) / T(p) for constant work per rank (weak)"
    ]
    if any(one.kind == "strong" for one in all_series):
        lines.append(
            "Karp-Flatt: serial fraction of the base's time; a constant value indicates serial "
            "work, a value that grows with the ranks indicates parallel overhead"
        )
    if any(len(point.runs) > 1 for point in points):
        lines.append(
            "scaling, several launches: medians over launches [95 % intervals; with fewer than 6 "
            "launches, smallest and largest value]"
        )
    if any(len(point.runs) == 1 for point in points):
        lines.append(
            "scaling, one launch: intervals over its steps; they do not contain the variation "
            "between launches"
        )
    lines += _special(all_series)
    return lines


def _special(all_series: list[Series]) -> list[str]:
    lines = []
    if any(row.refused for one in all_series for row in one.rows):
        lines.append(f"{NONE} for efficiency: threads or binding differ from the base")
    loose = sorted({one.algorithm for one in all_series if one.asynchronous})
    if loose:
        lines.append(
            f"asynchronous, {', '.join(loose)}: step ms is the time in which W workers take W "
            "steps in total"
        )
    return lines
