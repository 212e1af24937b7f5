"""Learning curves: medians and ranges over seeds or one line per run, the metric or its error.

The pointer shows a rule with the values of all algorithms at the last evaluation before it.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from bench.reporting import look
from bench.reporting.chapter import Figure
from bench.reporting.training.metrics import (
    CROWD,
    CURVES,
    LEAST,
    MARKS,
    X,
    bands,
    curves,
    line_chart,
    thinned,
)
from bench.reporting.training.sections import Section

MEDIANS = (
    "Median over the seeds of each case, at the steps at which all of them were evaluated; band: "
    "smallest to largest. A cross marks the end of an incomplete run."
)
CROWDED = " Individual lines are omitted for {n:,} runs."
ERROR = " The error is 1 - {metric}; an error of 0 is drawn at the lower edge of the log axis."
MEDIAN, EACH = "median and range", "each run"
"""Names of the lines on the page."""
HOVER = 60
"""Maximum number of positions of the pointer on an axis."""
FLOOR = 0.5
"""Position of an error of 0 relative to the smallest positive one."""


def learning_figure(section: Section) -> Figure:
    """Return the learning curves, or a figure without charts that says why there are none."""
    metric, rising = section.metric, section.direction == "max"
    runs, cases = curves(section), bands(section)
    if not len(runs):
        return Figure("", f"No run has a finite {metric} yet: there are no curves to draw.", {})
    frames, caption = {EACH: runs}, CURVES
    if any(len(case) > 1 for _, case in section.complete()) and len(cases):
        crowd = len(section.runs) > CROWD
        frames = {MEDIAN: cases} | ({} if crowd else frames)
        caption = MEDIANS + (CROWDED.format(n=len(section.runs)) if crowd else "")
    scales = {metric: frames}
    logs = {name: errors(frame, section.direction) for name, frame in frames.items()}
    positive = {name: frame for name, frame in logs.items() if frame is not None}
    if len(positive) == len(frames):
        scales["log error" if rising else f"log {metric}"] = positive
        caption += ERROR.format(metric=metric) if rising else ""
    charts, axes = {}, []
    for x, scale, lines in product(X, scales, frames):
        log, only = scale != metric, len(frames) == 1 or lines != EACH
        title = f"1 - {metric}" if log and rising else metric
        name = "-".join([x, *["log"] * log, *["runs"] * (not only)])
        charts[name] = learning(scales[scale][lines], x, title, section.direction, log)
        axes.append(", ".join([X[x][0], *[scale] * log, *[lines] * (not only)]))
    options = [[name for name, _, _ in X.values()], list(scales), list(frames)]
    title = f"Learning curves: {metric} of the mean model"
    return Figure(title, caption, charts, axes, [x for x in options if len(x) > 1])


def errors(frame: pd.DataFrame, direction: str) -> pd.DataFrame | None:
    """Return the frame with errors instead of metrics, for a logarithmic axis.

    The error is 1 minus a metric of at most 1 to be maximised, and a positive metric to be
    minimised itself; None for other metrics. Zeros become FLOOR of the smallest positive error.
    """
    names = [x for x in ("metric", "low", "high") if x in frame]
    values = frame[names]
    if direction == "max":
        values = 1 - values
    positive = values.where(values > 0).min().min()
    if values.min().min() < 0 or pd.isna(positive):
        return None
    shown = values.clip(lower=float(positive) * FLOOR).map(look.brief)
    if direction == "max" and "low" in shown:
        shown = shown.rename(columns={"low": "high", "high": "low"})
    return frame.assign(**{name: shown[name] for name in names})


def learning(
    frame: pd.DataFrame, x: str, metric: str, direction: str, logarithmic: bool = False
) -> look.Chart:
    """Chart the metric of the mean model against x, one of metrics.X, a panel per condition.

    A frame of cases gives a line through medians, in a band from the smallest to the largest;
    a frame of runs gives a line per run.
    """
    scale = look.logarithmic() if logarithmic else look.metric_scale(frame["metric"], direction)
    title = f"{metric} of the mean model"
    y = alt.Y("metric:Q", title=title, scale=scale)
    band = alt.Y("low:Q", title=title, scale=scale) if "low" in frame else None
    tips = [alt.Tooltip("metric:Q", title=metric, format=".4g")]
    rule, rows = comparison(frame, x, metric), positions(frame)
    return line_chart(frame, x, y, tips, band=band, below=rule, more=rows)


def positions(frame: pd.DataFrame) -> pd.DataFrame:
    """Return every line at common positions of each axis, where lines are compared.

    The metric at a position is that of the last evaluation at or before it. `hover` is the axis.
    """
    line = "case" if "case" in frame else "run"
    most = max(LEAST, min(HOVER, MARKS // (2 * len(X) * frame[line].nunique())))
    parts = []
    for (_, panel), x in product(frame.groupby("condition", sort=False), X):
        at = np.unique(panel[x])
        at = at[thinned(np.arange(len(at)), most)]
        for _, own in panel.sort_values(x).groupby(line, sort=False):
            last = np.searchsorted(own[x], at, side="right") - 1
            rows = own[["algorithm", "condition", line, "metric"]].iloc[last[last >= 0]]
            columns: dict[str, Any] = {x: at[last >= 0], "hover": x}
            parts.append(rows.assign(**columns))
    return pd.concat(parts, ignore_index=True)


def comparison(frame: pd.DataFrame, x: str, metric: str) -> alt.Chart:
    """Return a rule near the pointer with the median of every algorithm there."""
    names = sorted(set(frame["algorithm"]))
    lookup = f"indexof({names!r}, datum.algorithm)"
    keys = [f"value_{i}" for i in range(len(names))]
    nearest = alt.selection_point(
        name="nearest",
        nearest=True,
        on="pointermove",
        clear="pointerout",
        fields=[x],
        empty=False,
    )
    tips = [alt.Tooltip(f"{x}:Q", title=X[x][0], format=",d" if x == "step" else ",.4~s")]
    tips += [
        alt.Tooltip(
            key, type="quantitative", title=f"{metric}, {name}" if i == 0 else name, format=".4g"
        )
        for i, (key, name) in enumerate(zip(keys, names, strict=True))
    ]
    chart: alt.Chart = (
        alt.Chart()
        .transform_filter(f"datum.hover === '{x}'")
        .transform_calculate(key=f"'value_' + {lookup}")
        .transform_pivot("key", value="metric", groupby=[x, "condition"], op="median")
        .mark_rule(color="currentColor", strokeWidth=1)
        .encode(
            x=f"{x}:Q",
            opacity=alt.condition(nearest, alt.value(0.5), alt.value(0)),
            tooltip=tips,
        )
        .add_params(nearest)
    )
    return chart
