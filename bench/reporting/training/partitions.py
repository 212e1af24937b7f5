"""Algorithm by partition: the medians over seeds as a map of cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import altair as alt
import pandas as pd

from bench.common.text import format_bytes, format_number, setting_label
from bench.reporting import look
from bench.reporting.chapter import Figure
from bench.reporting.look import Mark, brief, frame_of, labels
from bench.reporting.training.runs import Section
from bench.results.schema import COMPLETE


@dataclass(frozen=True)
class Measure:
    """A number of a case that a map can show."""

    title: str
    column: str
    """Of Run.row()."""
    direction: str
    """Whether `max` or `min` is better; empty where that is the metric's."""


MEASURES = {
    "mean": Measure("mean model", "metric", ""),
    "worst": Measure("worst worker", "metric_worst", ""),
    "step": Measure("step ms", "step_ms_p50", "min"),
    "bytes": Measure("bytes per worker-step", "bytes_per_step", "min"),
}
MAPPED = (
    "Medians over the complete runs of a case; darker is better, the best of a partition bold. "
    "The medians are over all seeds, whatever the filters show."
)
SKEWED = (
    "A point a complete run, a line through the medians over seeds. Skew is 0 where all workers "
    "have the same labels, 1 where they have none in common."
)
LIMITS = {"low": "smallest", "high": "largest"}
"""Columns of a frame, and what tooltips call them."""
SHADES = ("#edf4f9", "#0072B2")
"""Of the worst and of the best cell, on any paper."""
PAIRED = 3
"""Partitions up to which two panels have room beside each other."""
CHARACTER = 5.9
"""px of a label, about."""
DARK = 0.55
"""A shade from here on is written on in white."""


def frame(section: Section, measure: Measure) -> pd.DataFrame:
    """A complete case a row: the median over its runs, and its shade from 0, worst, to 1, best.

    `panel` says what varies but algorithm and partition; what a cell says is `bold` where it is the
    best of its partition, else `text`. Cases with a number missing are left out.
    """
    rest = [x for x in section.varying if x not in ("algorithm", "partition")]
    rows: list[Mark] = []
    for number, case in section.complete():
        values = [run.row.number(measure.column) for run in case]
        if all(map(math.isfinite, values)):
            panel = ", ".join(setting_label(x, case[0].settings[x]) for x in rest)
            value = median(values)
            rows.append(
                labels(section, case[0])
                | {"case": number, "partition": str(case[0].settings["partition"])}
                | {"panel": panel, "runs": len(case), "value": brief(value)}
                | {"low": brief(min(values)), "high": brief(max(values))}
                | {"text": _text(measure, value)}
            )
    columns = ["case", "partition", "panel", "runs", "value", "low", "high", "text"]
    made = frame_of(rows, columns)
    direction = measure.direction or section.direction
    made["shade"] = [brief(x) for x in _shades(made["value"].tolist(), direction)]
    best = _best(made, direction)
    made["bold"] = made["text"].where(best, "")
    made["text"] = made["text"].where(~best, "")
    return made


def mapped(frame: pd.DataFrame) -> bool:
    """Whether there are two algorithms and two partitions to compare."""
    return frame["algorithm"].nunique() > 1 and frame["partition"].nunique() > 1


def heat_map(frame: pd.DataFrame, measure: Measure) -> look.Chart:
    """A cell an algorithm and partition, darker where better; the best of a column is bold."""
    partitions = list(dict.fromkeys(frame["partition"]))
    conditions = list(dict.fromkeys(frame["panel"]))
    columns = 1 if len(conditions) % 2 or len(partitions) > PAIRED else 2
    room = (look.WIDTH - 230) // columns - look.SPACING * (columns - 1)
    width = max(62, min(150, room // len(partitions)))
    fits = width >= CHARACTER * max(map(len, partitions))
    axis = alt.Axis(ticks=False, domain=False, labelAngle=0 if fits else -30)
    tips = [alt.Tooltip(f"{name}:N") for name in ("algorithm", "condition")]
    tips += [
        alt.Tooltip("value:Q", title=f"{measure.title}, median", format=".4g"),
        *(alt.Tooltip(f"{x}:Q", format=".4g", title=t) for x, t in LIMITS.items()),
        alt.Tooltip("runs:Q", title="runs"),
    ]
    base = alt.Chart().encode(
        x=alt.X("partition:N", title=None, sort=partitions, axis=axis),
        y=look.algorithms(),
        tooltip=tips,
    )
    scale = alt.Scale(domain=[0, 1], range=list(SHADES))
    cells = base.mark_rect(cornerRadius=3, strokeWidth=0).encode(
        color=alt.Color("shade:Q", scale=scale, legend=None)
    )
    light = alt.condition(f"datum.shade > {DARK}", alt.value("white"), alt.value("#1f2328"))
    texts = base.mark_text(fontSize=12).encode(text="text:N", color=light)
    bold = base.mark_text(fontSize=12, fontWeight="bold").encode(text="bold:N", color=light)
    sized = alt.layer(cells, texts, bold).properties(width=alt.Step(width), height=alt.Step(34))
    if conditions == [""]:
        alone: look.Chart = sized.properties(data=frame)
        return alone
    data = frame.assign(condition=frame["panel"])
    made: look.Chart = sized.facet(
        data=data, facet=look.facet(data), columns=columns, spacing=look.SPACING
    )
    return made


def _text(measure: Measure, value: float) -> str:
    if measure.column == "bytes_per_step":
        return format_bytes(value)
    return format_number(value, 3)


def _shades(values: list[float], direction: str) -> list[float]:
    """0 for the worst, 1 for the best; by the logarithm where the best is far from the worst."""
    if not values:
        return []
    low, high = min(values), max(values)
    if low > 0 and high > look.LOG_RATIO * low:
        values = [math.log(x) for x in values]
        low, high = math.log(low), math.log(high)
    if high == low:
        return [0.0] * len(values)
    rising = [(x - low) / (high - low) for x in values]
    return rising if direction == "max" else [1 - x for x in rising]


def _best(frame: pd.DataFrame, direction: str) -> pd.Series[bool]:
    """Whether it is the best algorithm of its partition and panel."""
    columns = frame.groupby(["partition", "panel"])["value"]
    return frame["value"] == columns.transform("max" if direction == "max" else "min")


MODELS = {"metric": "mean model", "metric_worst": "worst worker"}
LEAST_SKEWS = 3
"""Partitions of different skew that make a curve."""
FINE = 0.02
"""Closer than this in label skew is the same."""


def skew_rows(section: Section) -> pd.DataFrame:
    """Two rows a complete run: its label skew, and the metric of mean model and worst worker."""
    rows = [
        {
            "algorithm": str(run.settings["algorithm"]),
            "partition": str(run.settings["partition"]),
            "seed": run.row.seed,
            "run": number,
            "model": model,
            "js": brief(run.row.label_js),
            "metric": brief(run.row.number(name)),
        }
        for number, run in enumerate(section.runs)
        if run.row.status == COMPLETE
        for name, model in MODELS.items()
        if math.isfinite(run.row.number(name)) and math.isfinite(run.row.label_js)
    ]
    columns = ["algorithm", "partition", "seed", "run", "model", "js", "metric"]
    return pd.DataFrame(rows, columns=columns)


def curved(frame: pd.DataFrame) -> bool:
    """Whether the runs are of enough different skews for a curve."""
    return len(set((frame["js"] / FINE).round())) >= LEAST_SKEWS


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
        runs = skew_rows(section)
        if len(runs) and curved(runs):
            return against_skew(runs, section.metric, section.direction)
    return None


def map_figure(section: Section) -> list[Figure]:
    """Return the maps of algorithms and partitions, where there are two of each."""
    drawn, axes = {}, []
    for name, measure in MEASURES.items():
        cells = frame(section, measure)
        if mapped(cells):
            drawn[f"map-{name}"] = heat_map(cells, measure)
            axes.append(measure.title)
    title = f"Algorithm by partition: final {section.metric}, and what it costs"
    return [Figure(title, MAPPED, drawn, axes)] if drawn else []


def skew_figure(section: Section) -> list[Figure]:
    """Return the figure of the metric against label skew, where the runs differ enough in it."""
    chart = chart_of([section])
    title = f"{section.metric.capitalize()} against label skew"
    return [Figure(title, SKEWED, {"skew": chart})] if chart else []
