"""Charts of the metric of training runs: learning curves, final metrics, consensus distance.

`run` is the index of the run of a mark in the section; a mark of several runs has `case` instead,
the index of its case. The filters of the page use them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from bench.common.text import since_mark
from bench.reporting import look
from bench.reporting.chapter import Figure
from bench.reporting.look import Mark, brief, frame_of, labels
from bench.reporting.training import since
from bench.reporting.training.runs import POINTS
from bench.reporting.training.sections import Section
from bench.results.schema import COMPLETE

MARKS = 12_000
"""Maximum number of rows of a frame, achieved by thinning curves and omitting cases."""
LEAST = 6
"""Minimum number of points of a thinned curve."""
CROWD = 120
"""Number of runs above which curves are medians of cases."""
CURVES = "One line per run and seed. A cross marks the end of an incomplete run."
FINAL = (
    "One mark per complete run and model. A larger distance between triangle and circle means less "
    "consensus."
)
APART = "Consensus distance: root mean square distance of the workers to the mean model, log axis."
COLUMNS = ("step", "elapsed_s", "bytes", "metric", "consensus")
"""Columns of a curve."""


def curves(section: Section) -> pd.DataFrame:
    """Return a row per evaluation of every run; `ended` is set at the last of an incomplete one.

    Evaluations without a finite metric are left out.
    """
    rows: list[Mark] = []
    most = max(LEAST, min(POINTS, MARKS // max(1, len(section.runs))))
    for number, run in enumerate(section.runs):
        finite = np.flatnonzero(np.isfinite(run.curve["metric"]))
        columns = labels(section, run) | {"run": number}
        for i in (places := thinned(finite, most)):
            values = {name: brief(run.curve[name][i]) for name in COLUMNS}
            ended = run.row.status if i == places[-1] else COMPLETE
            rows.append(columns | values | {"ended": ended})
    return frame_of(rows, [*COLUMNS, "run", "ended"])


def bands(section: Section) -> pd.DataFrame:
    """Return the median curve of every case, with the smallest and the largest metric.

    A row is a step at which all runs of a case were evaluated; `low` and `high` bound the metric.
    An incomplete run is a case of its own; `ended` is set at its last row.
    """
    rows: list[Mark] = []
    cases = section.cases()
    most = max(LEAST, min(POINTS, MARKS // max(1, len(cases))))
    for number, case in enumerate(cases):
        same = set.intersection(*(set(run.curve["step"].tolist()) for run in case))
        if not same:
            continue
        at = [np.isin(run.curve["step"], list(same)) for run in case]
        values = {
            name: np.array([run.curve[name][x] for run, x in zip(case, at, strict=True)])
            for name in COLUMNS
        }
        middle = {name: np.median(some, 0) for name, some in values.items()}
        middle |= {"low": values["metric"].min(0), "high": values["metric"].max(0)}
        seed = f"{len(case)} runs" if len(case) > 1 else str(case[0].row.seed)
        columns = labels(section, case[0]) | {"case": number, "seed": seed}
        finite = np.flatnonzero(np.isfinite(values["metric"]).all(0))
        for i in (places := thinned(finite, most)):
            row = {name: brief(some[i]) for name, some in middle.items()}
            ended = case[0].row.status if i == places[-1] else COMPLETE
            rows.append(columns | row | {"ended": ended})
    return frame_of(rows, [*COLUMNS, "low", "high", "case", "ended"])


def finals(section: Section) -> pd.DataFrame:
    """Return two rows per complete run: the final metric of the mean model and the worst worker."""
    rows = [
        labels(section, run)
        | {"run": number, "model": model, "metric": brief(run.row.number(name))}
        | {"since": since_mark(run.row.since).strip() if name == "metric_worst" else ""}
        for number, run in enumerate(section.runs)
        if run.row.status == COMPLETE
        for model, name in (("mean model", "metric"), ("worst worker", "metric_worst"))
        if math.isfinite(run.row.number(name))
    ]
    return frame_of(rows, ["run", "model", "metric", "since"])


def thinned(places: np.ndarray[Any, Any], most: int) -> list[int]:
    """Return at most `most` evenly spaced places, including the first and the last."""
    n = len(places)
    chosen = np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))
    result: list[int] = places[chosen].tolist()
    return result


MARKED = 6
"""Maximum number of marked places of a line, where colours alone do not distinguish lines."""
FEW = 12
"""Maximum number of points of a curve with marked points."""
X = {
    "step": ("steps", "steps taken", "format(datum.value, ',d')"),
    "elapsed_s": ("seconds", "training time (s), evaluations left out", look.PLAIN),
    "bytes": ("bytes", "bytes moved per worker (B)", "format(datum.value, '~s')"),
}
"""Horizontal axis of learning curves -> name, axis title, label expression."""


def consensus(frame: pd.DataFrame) -> look.Chart:
    """Chart the consensus distance against steps where it is positive, on a log axis."""
    y = alt.Y(
        "consensus:Q", title="consensus distance", scale=look.logarithmic(), axis=look.few_ticks()
    )
    tip = alt.Tooltip("consensus:Q", title="consensus distance", format=".3g")
    return line_chart(frame, "step", y, [tip], frame["consensus"] > 0)


def final(frame: pd.DataFrame, metric: str, direction: str) -> look.Chart:
    """Chart the final metric by algorithm: one mark per run and model."""
    scale = look.metric_scale(frame["metric"], direction)
    marks = alt.Chart().mark_point(size=70, strokeWidth=1.8, opacity=0.85)
    models = ["mean model", "worst worker"]
    shape = alt.Shape(
        "model:N", title=None, scale=alt.Scale(domain=models, range=["circle", "triangle-left"])
    )
    chart = marks.encode(
        x=alt.X("metric:Q", title=f"final {metric}", scale=scale, axis=look.few_ticks()),
        y=look.algorithms(),
        color=look.colour_of(frame, False),
        shape=shape,
        tooltip=[
            *look.tooltips(),
            "model:N",
            alt.Tooltip("metric:Q", title=metric, format=".4g"),
            alt.Tooltip("since:N", title="steps since an exchange"),
        ],
    )
    if (frame["since"] != "").any():
        marks = alt.Chart().mark_text(dx=10, align="left", fontSize=11, color="currentColor")
        texts = marks.encode(x="metric:Q", y=look.algorithms(), text="since:N")
        chart = alt.layer(chart, texts)
    return look.rows(chart, frame)


def line_chart(
    frame: pd.DataFrame,
    x: str,
    y: alt.Y,
    tips: Sequence[alt.Tooltip],
    shown: pd.Series[bool] | None = None,
    band: alt.Y | None = None,
    below: alt.Chart | None = None,
    more: pd.DataFrame | None = None,
) -> look.Chart:
    """Chart the lines of the shown rows, all by default, in the colours of the whole frame.

    band: lower end of the band around a line; its upper end is `high`. below: chart below the
    lines, of the rows `more`, which have a column `hover` that is not empty.
    """
    dash, shape = look.dash_of(frame), look.shape_of(frame)
    legend = alt.Legend(title=None, symbolOpacity=1, symbolStrokeWidth=1)
    if dash is None:
        legend = alt.Legend(title=None, symbolType="stroke", symbolOpacity=1, symbolStrokeWidth=2.5)
    colour = look.colour_of(frame, True).legend(legend)
    frame = frame if shown is None else frame[shown]
    line = "case" if "case" in frame else "run"
    few = frame.groupby(line).size().max() <= FEW
    ended = (frame["ended"] != COMPLETE).any()
    _, title, number = X[x]
    base = alt.Chart().encode(
        x=alt.X(
            f"{x}:Q",
            title=title,
            scale=alt.Scale(zero=True),
            axis=alt.Axis(labelExpr=number, tickCount=6),
        ),
        y=y,
        color=colour,
        detail=f"{line}:N",
        tooltip=[
            *look.tooltips(),
            *(alt.Tooltip(f"{name}:Q", title=X[name][0], format=",.4~s") for name in X),
            *tips,
        ],
    )
    dot = alt.OverlayMarkDef(size=14, filled=True) if few and dash is None else False
    lines = base.mark_line(strokeWidth=1.5, opacity=0.8, point=dot)
    layers: list[alt.Chart] = [lines]
    if dash is not None:
        marks = base.mark_point(filled=True, size=34, opacity=0.9).encode(shape=shape)
        layers = [lines.encode(strokeDash=dash), _every(marks, x, line)]
    if band is not None:
        area = base.mark_area(opacity=0.14, strokeWidth=0)
        area = area.encode(y=band, y2="high:Q")
        layers.insert(0, area)
    if ended:
        cross = base.mark_point(shape="cross", angle=45, size=90, strokeWidth=2.5)
        layers.append(cross.transform_filter(f"datum.ended != '{COMPLETE}'"))
    drawn = alt.layer(*layers)
    if below is not None:
        frame = pd.concat([frame.assign(hover=""), more], ignore_index=True)
        drawn = alt.layer(below, drawn.transform_filter("datum.hover === ''"))
    return look.panels(drawn, frame, 260)


def _every(marks: alt.Chart, x: str, line: str) -> alt.Chart:
    """Return the marks at up to MARKED places of each line."""
    chart: alt.Chart = (
        marks.transform_window(place="row_number()", sort=[alt.SortField(x)], groupby=[line])
        .transform_joinaggregate(length="count()", groupby=[line])
        .transform_filter(f"(datum.place - 1) % ceil(datum.length / {MARKED}) === 0")
    )
    return chart


def final_figure(section: Section) -> list[Figure]:
    """Return the figure of final metrics; none without complete runs."""
    frame = finals(section)
    if not len(frame):
        return []
    title = f"Final {section.metric}: the mean model and the worst worker"
    caption = FINAL + since.caption(section)
    return [Figure(title, caption, {"final": final(frame, section.metric, section.direction)})]


def consensus_figure(curves: pd.DataFrame) -> list[Figure]:
    """Return the figure of consensus distances; none where all of them are 0."""
    distant = curves.groupby("algorithm")["consensus"].max() > 0
    if not distant.any():
        return []
    agreeing = ", ".join(str(name) for name, positive in distant.items() if not positive)
    always = f" Always 0, so not on the log axis: {agreeing}." if agreeing else ""
    chart = consensus(curves)
    return [Figure("Distance between the workers", APART + always, {"consensus": chart})]


def shown_curves(section: Section) -> pd.DataFrame:
    """Return a curve per run; of more than CROWD runs a median curve per case, if there is one."""
    median_curves = bands(section) if len(section.runs) > CROWD else pd.DataFrame()
    return median_curves if len(median_curves) else curves(section)
