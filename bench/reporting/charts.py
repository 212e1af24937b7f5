"""The charts of the page: pure functions of frames (see bench.reporting.frames)."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

from bench.reporting import look
from bench.results.schema import COMPLETE

FEW = 12
"""Up to so many points of a curve are marked."""
X = {
    "step": ("steps", "steps taken", "format(datum.value, ',d')"),
    "elapsed_s": ("seconds", "training time (s), evaluations left out", look.PLAIN),
    "bytes": ("bytes", "bytes moved per worker (B)", "format(datum.value, '~s')"),
}
"""What a learning curve can be drawn against: its name, axis title and how numbers are written."""


def learning(frame: pd.DataFrame, x: str, metric: str, direction: str) -> look.Chart:
    """Metric of the mean model against x, one of X: a line a run, a panel a condition.

    Of a frame of cases a line through medians, in a band from the smallest to the largest.
    """
    scale = look.metric_scale(frame["metric"], direction)
    y = alt.Y("metric:Q", title=f"{metric} of the mean model", scale=scale)
    low = alt.Y("low:Q", title=f"{metric} of the mean model", scale=scale)
    band = low if "low" in frame else None
    return _curves(frame, x, y, [alt.Tooltip("metric:Q", title=metric, format=".4g")], band=band)


def consensus(frame: pd.DataFrame) -> look.Chart:
    """Consensus distance against steps where it is positive, on a log axis."""
    y = alt.Y(
        "consensus:Q", title="consensus distance", scale=look.logarithmic(), axis=look.few_ticks()
    )
    tip = alt.Tooltip("consensus:Q", title="consensus distance", format=".3g")
    return _curves(frame, "step", y, [tip], frame["consensus"] > 0)


def final(frame: pd.DataFrame, metric: str, direction: str) -> look.Chart:
    """Final metric by algorithm: a mark a run, for the mean model and for the worst worker."""
    scale = look.metric_scale(frame["metric"], direction)
    marks = alt.Chart().mark_point(size=70, strokeWidth=1.8, opacity=0.85)
    models = ["mean model", "worst worker"]
    shape = alt.Shape(
        "model:N", title=None, scale=alt.Scale(domain=models, range=["circle", "triangle-left"])
    )
    made = marks.encode(
        x=alt.X("metric:Q", title=f"final {metric}", scale=scale, axis=look.few_ticks()),
        y=look.algorithms(),
        color=look.colour_of(frame, False),
        shape=shape,
        tooltip=[*look.about(), "model:N", alt.Tooltip("metric:Q", title=metric, format=".4g")],
    )
    return look.rows(made, frame)


def phases(frame: pd.DataFrame) -> look.Chart:
    """Median step of every case, divided into its phases."""
    names = list(dict.fromkeys(frame["phase"]))
    colour = alt.Color(
        "phase:N",
        scale=alt.Scale(domain=names, range=list(look.PHASES[: len(names)])),
        legend=alt.Legend(title=None, columns=len(names)),
    )
    bars = alt.Chart().mark_bar(height={"band": 0.72})
    made = bars.encode(
        x=alt.X("ms:Q", title="median step (ms), divided by phase", axis=look.few_ticks()),
        y=look.algorithms(),
        color=colour,
        order="order:Q",
        tooltip=[
            *look.about(),
            "phase:N",
            alt.Tooltip("ms:Q", title="ms of the step", format=".3g"),
            alt.Tooltip("share:Q", title="share", format=".1%"),
        ],
    )
    return look.rows(made, frame)


def steps(frame: pd.DataFrame) -> look.Chart:
    """Median step of every case with its 95 % interval, and the middle 90 % of its steps."""
    titles = {"p50": "median (ms)", "lo": "95 % interval from", "hi": "to", "n": "timed steps"}
    titles |= {"p05": "5th percentile", "p95": "95th percentile"}
    tips = [alt.Tooltip(f"{x}:Q", title=title, format=".4g") for x, title in titles.items()]
    base = alt.Chart().encode(
        y=look.algorithms(),
        color=look.colour_of(frame, False),
        tooltip=[*look.about(), *tips],
    )
    title = "step on its slowest rank (ms)"
    x = alt.X("p05:Q", title=title, scale=alt.Scale(zero=True), axis=look.few_ticks())
    layers = (
        base.mark_rule(opacity=0.45).encode(x=x, x2="p95:Q"),
        base.mark_rule(strokeWidth=4, opacity=0.75).encode(x="lo:Q", x2="hi:Q"),
        base.mark_point(filled=True, size=45, opacity=1).encode(x="p50:Q"),
    )
    return look.rows(alt.layer(*layers), frame)


def _curves(
    frame: pd.DataFrame,
    x: str,
    y: alt.Y,
    tips: Sequence[alt.Tooltip],
    shown: pd.Series[bool] | None = None,
    band: alt.Y | None = None,
) -> look.Chart:
    """Lines of the rows that are shown, all by default; colours are those of the whole frame.

    band: where the band around a line begins, which ends at `high`.
    """
    colour, dash = look.colour_of(frame, True), look.dash_of(frame)
    frame = frame if shown is None else frame[shown]
    line = "case" if "case" in frame else "run"
    few = frame.groupby(line).size().max() <= FEW
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
            *look.about(),
            *(alt.Tooltip(f"{name}:Q", title=X[name][0], format=",.4~s") for name in X),
            *tips,
        ],
    )
    dot = alt.OverlayMarkDef(size=14, filled=True) if few else False
    lines = base.mark_line(strokeWidth=1.5, opacity=0.8, point=dot)
    layers = [lines if dash is None else lines.encode(strokeDash=dash)]
    if band is not None:
        layers.insert(0, base.mark_area(opacity=0.14, strokeWidth=0).encode(y=band, y2="high:Q"))
    if (frame["ended"] != COMPLETE).any():
        cross = base.mark_point(shape="cross", angle=45, size=90, strokeWidth=2.5)
        layers.append(cross.transform_filter(f"datum.ended != '{COMPLETE}'"))
    return look.panels(alt.layer(*layers), frame, 260)
