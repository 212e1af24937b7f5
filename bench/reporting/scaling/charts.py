"""Charts of strong and weak scaling: time, efficiency and exposed exchange over ranks."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from bench.reporting import look
from bench.reporting.chapter import Figure
from bench.reporting.look import brief, framed, labels
from bench.reporting.scaling.series import Row, Series, series, title
from bench.reporting.training.runs import Section, median_run

COLUMNS = ["line", "refused", "ranks", "nodes", "launches", "step", "lo", "hi"]
COLUMNS += ["efficiency", "efficiency_lo", "efficiency_hi", "exchange"]
JOINED = (
    "Dots are joined where threads and binding are those of the base; circles are all others. "
    "Bars: 95 % intervals of the median, over launches where there are several."
)
TIME = f"The median step on its slowest rank. Dashed: ideal scaling from the base. {JOINED}"
EFFICIENCY = (
    "Dashed: ideal. What runs on other threads than the base, or is bound in another way, has no "
    "efficiency. Bars: 95 % intervals of the ratio of medians."
)
EXCHANGE = f"Copying and waiting as a part of the timed steps of all ranks. {JOINED}"


def frame(section: Section) -> pd.DataFrame:
    """A row a point of every series; seed and status of the run in its middle.

    step, lo, hi and ideal in ms; efficiency with its ends and exchange as parts of one; `line` is
    the algorithm where the point is compared with the base, else a name of its own.
    """
    case_of = {id(section.runs[i]): n for n, places in enumerate(section.places) for i in places}
    rows = []
    for one in series(section):
        start = next(row.step_ms[0] for row in one.rows if row.point is one.base)
        for row in one.rows:
            run = median_run(row.point.runs)
            said = labels(section, run) | {"condition": title(one), "case": case_of[id(run)]}
            ideal = brief(start / (row.growth if one.kind == "strong" else 1))
            rows.append(said | {"ideal": ideal} | _values(one, row))
    return framed(rows, ["case", "ideal", *COLUMNS])


def _values(one: Series, row: Row) -> dict[str, Any]:
    point = row.point
    alone = f"{one.algorithm} on {point.ranks} of {point.nodes}"
    where = (alone if row.refused else one.algorithm, row.refused, point.ranks, point.nodes)
    numbers = (*row.step_ms, *row.efficiency, row.middle("exchange_share"))
    values = (*where, len(point.runs), *map(brief, numbers))
    return dict(zip(COLUMNS, values, strict=True))


def figures(section: Section) -> list[Figure]:
    """Three figures where the runs make a series, else none."""
    made = frame(section)
    if made.empty:
        return []
    found = [
        Figure("Time a step against ranks", TIME, {"scaling-time": time(made)}),
        Figure("Exposed exchange against ranks", EXCHANGE, {"scaling-exchange": exchange(made)}),
    ]
    if (made["refused"] == "").sum() > len(series(section)):  # more than the bases
        chart = efficiency(made)
        found.insert(1, Figure("Scaling efficiency", EFFICIENCY, {"scaling-efficiency": chart}))
    return found


def time(frame: pd.DataFrame) -> look.Chart:
    """Median step against ranks, both axes logarithmic, and the ideal from each base."""
    y = alt.Y("step:Q", title="step (ms)", scale=look.logarithmic(), axis=look.few_ticks())
    base = _base(frame).encode(y=y)
    ideal = base.mark_line(strokeDash=[2, 3], strokeWidth=1.2, opacity=0.7)
    compared = ideal.transform_filter("datum.refused == ''").encode(y="ideal:Q")
    ends = base.mark_rule(strokeWidth=1.5, opacity=0.6).encode(y="lo:Q", y2="hi:Q")
    return look.panels(alt.layer(compared, ends, *_curve(base, frame)), frame, 260)


def efficiency(frame: pd.DataFrame) -> look.Chart:
    """Efficiency against ranks with its interval, and a line where it is ideal."""
    y = alt.Y(
        "efficiency:Q",
        title="efficiency",
        scale=alt.Scale(zero=True),
        axis=alt.Axis(format="%", tickCount=6),
    )
    base = _base(frame).encode(y=y).transform_filter("isValid(datum.efficiency)")
    ideal = alt.Chart().mark_rule(strokeDash=[2, 3], opacity=0.7).encode(y=alt.datum(1))
    ends = base.mark_rule(strokeWidth=1.5, opacity=0.6)
    ends = ends.encode(y="efficiency_lo:Q", y2="efficiency_hi:Q")
    return look.panels(alt.layer(ideal, ends, *_curve(base, frame)), frame, 260)


def exchange(frame: pd.DataFrame) -> look.Chart:
    """Exposed exchange as a part of the step against ranks."""
    y = alt.Y(
        "exchange:Q",
        title="exposed exchange",
        scale=alt.Scale(domain=[0, 1]),
        axis=alt.Axis(format="%", tickCount=6),
    )
    return look.panels(alt.layer(*_curve(_base(frame).encode(y=y), frame)), frame, 260)


def _base(frame: pd.DataFrame) -> alt.Chart:
    ranks = sorted({int(x) for x in frame["ranks"]})
    tips = [alt.Tooltip(f"{x}:Q") for x in ("ranks", "nodes", "launches")]
    tips += [alt.Tooltip(f"{x}:Q", title=f"{x} (ms)", format=".3g") for x in ("step", "lo", "hi")]
    tips += [alt.Tooltip(f"{x}:Q", format=".1%") for x in ("efficiency", "exchange")]
    scale = alt.Scale(type="log", base=2, nice=False, padding=14)
    x = alt.X("ranks:Q", scale=scale, axis=alt.Axis(values=ranks, format="d", labelOverlap=True))
    return alt.Chart().encode(
        x=x,
        color=look.colour_of(frame, True),
        detail="line:N",
        tooltip=[*look.tooltips(), *tips, alt.Tooltip("refused:N", title="not compared")],
    )


def _curve(base: alt.Chart, frame: pd.DataFrame) -> list[alt.Chart]:
    """A line with dots; circles are what is compared with nothing."""
    lines, dash = base.mark_line(strokeWidth=1.8, opacity=0.85), look.dash_of(frame)
    lines = lines if dash is None else lines.encode(strokeDash=dash)
    dots = base.mark_point(filled=True, size=55, opacity=1)
    circles = base.mark_point(filled=False, size=55, strokeWidth=1.8, opacity=1)
    compared = "datum.refused == ''"
    return [lines, dots.transform_filter(compared), circles.transform_filter(f"!({compared})")]
