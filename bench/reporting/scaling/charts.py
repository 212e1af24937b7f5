"""Charts of strong and weak scaling: time, efficiency and exposed exchange against ranks."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from bench.common.text import setting_label
from bench.reporting import look
from bench.reporting.chapter import Figure
from bench.reporting.look import brief, frame_of, labels
from bench.reporting.scaling.series import Row, Series, series, title
from bench.reporting.training.sections import Section, median_run

COLUMNS = ["line", "refused", "ranks", "nodes", "launches", "step", "lo", "hi"]
COLUMNS += ["efficiency", "efficiency_lo", "efficiency_hi", "exchange"]
JOINED = (
    "Dots are joined if threads and binding equal those of the base; circles are all other points. "
    "Bars: 95 % confidence intervals of the median, over launches if there are several."
)
TIME = f"Elapsed time over steps, slowest rank. Dashed: ideal scaling from the base. {JOINED}"
EFFICIENCY = (
    "Dashed: ideal. Points with other threads or another binding than the base have no efficiency. "
    "Bars: 95 % confidence intervals of the ratio of medians."
)
EXCHANGE = f"Copying and waiting as a fraction of the timed steps of all ranks. {JOINED}"


def frame(section: Section) -> pd.DataFrame:
    """Return a row per point of every series, with seed and status of its median run.

    step, lo, hi and ideal in ms; efficiency, its interval and exchange as fractions. `line` is the
    series if the point is compared with the base, else a name of its own.
    """
    case_of = {id(section.runs[i]): n for n, places in enumerate(section.places) for i in places}
    rows = []
    for one in series(section):
        start = next(row.step_ms[0] for row in one.rows if row.point is one.base)
        for row in one.rows:
            run = median_run(row.point.runs)
            columns = labels(section, run) | {"condition": title(one), "case": case_of[id(run)]}
            ideal = brief(start / (row.growth if one.kind == "strong" else 1))
            rows.append(columns | {"ideal": ideal} | _values(one, row))
    return frame_of(rows, ["case", "ideal", *COLUMNS])


def _values(one: Series, row: Row) -> dict[str, Any]:
    point = row.point
    base = one.base
    line = f"{one.algorithm}, {setting_label('threads', base.threads)}, {base.binding}"
    alone = f"{line}, {row.refused}, {point.ranks} on {point.nodes}"
    where = (alone if row.refused else line, row.refused, point.ranks, point.nodes)
    numbers = (*row.step_ms, *row.efficiency, row.middle("exchange_share"))
    values = (*where, len(point.runs), *map(brief, numbers))
    return dict(zip(COLUMNS, values, strict=True))


def figures(section: Section) -> list[Figure]:
    """Return three figures if the runs form a series, else none."""
    rows = frame(section)
    if rows.empty:
        return []
    result = [
        Figure("Time per step against ranks", TIME, {"scaling-time": time(rows)}),
        Figure("Exposed exchange against ranks", EXCHANGE, {"scaling-exchange": exchange(rows)}),
    ]
    if (rows["refused"] == "").sum() > len(series(section)):  # more than the bases
        chart = efficiency(rows)
        result.insert(1, Figure("Scaling efficiency", EFFICIENCY, {"scaling-efficiency": chart}))
    return result


def time(frame: pd.DataFrame) -> look.Chart:
    """Chart the time of a step against ranks, both axes logarithmic, with ideal scaling."""
    y = alt.Y("step:Q", title="step (ms)", scale=look.logarithmic(), axis=look.few_ticks())
    base = _base(frame).encode(y=y)
    ideal = base.mark_line(strokeDash=[2, 3], strokeWidth=1.2, opacity=0.7)
    compared = ideal.transform_filter("datum.refused == ''").encode(y="ideal:Q")
    ends = base.mark_rule(strokeWidth=1.5, opacity=0.6).encode(y="lo:Q", y2="hi:Q")
    return look.panels(alt.layer(compared, ends, *_curve(base, frame)), frame, 260)


def efficiency(frame: pd.DataFrame) -> look.Chart:
    """Chart the efficiency against ranks with its interval and the ideal."""
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
    """Chart the exposed exchange as a fraction of the step against ranks."""
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
    """Return a line with dots; circles are points that are not compared."""
    lines, dash = base.mark_line(strokeWidth=1.8, opacity=0.85), look.dash_of(frame)
    lines = lines if dash is None else lines.encode(strokeDash=dash)
    dots = base.mark_point(filled=True, size=55, opacity=1)
    circles = base.mark_point(filled=False, size=55, strokeWidth=1.8, opacity=1)
    compared = "datum.refused == ''"
    return [lines, dots.transform_filter(compared), circles.transform_filter(f"!({compared})")]
