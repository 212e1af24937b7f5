"""The metric against how differently the data are separated."""

from __future__ import annotations

import math
from collections.abc import Sequence

import altair as alt
import pandas as pd

from bench.reporting import look
from bench.reporting.cases import Section
from bench.reporting.frames import brief
from bench.results.schema import COMPLETE

MODELS = {"metric": "mean model", "metric_worst": "worst worker"}
LEAST = 3
"""Partitions of different skew that make a curve."""
FINE = 0.02
"""Closer than this in label skew is the same."""


def frame(section: Section) -> pd.DataFrame:
    """Two rows a complete run: its label skew, and the metric of mean model and worst worker."""
    rows = [
        {
            "algorithm": str(run.settings["algorithm"]),
            "partition": str(run.settings["partition"]),
            "seed": run.row["seed"],
            "run": number,
            "model": model,
            "js": brief(run.row["label_js"]),
            "metric": brief(run.row[name]),
        }
        for number, run in enumerate(section.runs)
        if run.row["status"] == COMPLETE
        for name, model in MODELS.items()
        if math.isfinite(run.row[name]) and math.isfinite(run.row["label_js"])
    ]
    columns = ["algorithm", "partition", "seed", "run", "model", "js", "metric"]
    return pd.DataFrame(rows, columns=columns)


def curved(frame: pd.DataFrame) -> bool:
    """Whether the runs are of enough different skews for a curve."""
    return len(set((frame["js"] / FINE).round())) >= LEAST


def against_skew(frame: pd.DataFrame, metric: str, direction: str) -> look.Chart:
    """The final metric against label skew: a point a run, a line through the medians of seeds."""
    scale = look.metric_scale(frame["metric"], direction)
    x = alt.X(
        "js:Q",
        title="label skew: normalised Jensen-Shannon divergence",
        scale=alt.Scale(zero=True),
        axis=look.few_ticks(),
    )
    y = alt.Y("metric:Q", title=f"final {metric}", scale=scale)
    tips = [alt.Tooltip(f"{name}:N") for name in ("algorithm", "partition", "seed", "model")]
    tips += [
        alt.Tooltip("js:Q", title="label skew", format=".3f"),
        alt.Tooltip("metric:Q", title=metric, format=".4g"),
    ]
    base = alt.Chart().encode(x=x, y=y, color=look.colour_of(frame, True), tooltip=tips)
    points = base.mark_point(size=22, filled=True, opacity=0.45)
    lines = (
        base.transform_aggregate(
            js="median(js)",
            metric="median(metric)",
            groupby=["algorithm", "partition", "model"],
        )
        .mark_line(strokeWidth=2, point=False)
        .encode(tooltip=[tips[0], tips[1], tips[3], tips[4], tips[5]])
    )
    titled = frame.rename(columns={"model": "condition"})
    layers = [layer.transform_calculate(model="datum.condition") for layer in (points, lines)]
    return look.panels(alt.layer(*layers), titled, 320)


def chart_of(sections: Sequence[Section]) -> look.Chart | None:
    """The chart of the first section whose runs differ enough in skew; None where none does."""
    for section in sections:
        runs = frame(section)
        if len(runs) and curved(runs):
            return against_skew(runs, section.metric, section.direction)
    return None
