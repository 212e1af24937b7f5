"""Algorithm by partition: the medians over seeds as a map of cells."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median

import altair as alt
import pandas as pd

from bench.common.text import format_bytes, format_number, setting_label
from bench.reporting import look
from bench.reporting.cases import Section
from bench.reporting.frames import Row, about, brief, complete, framed


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
    rows: list[Row] = []
    for number, case in complete(section):
        values = [float(run.row[measure.column]) for run in case]
        if all(map(math.isfinite, values)):
            panel = ", ".join(setting_label(x, case[0].settings[x]) for x in rest)
            value = median(values)
            rows.append(
                about(section, case[0])
                | {"case": number, "partition": str(case[0].settings["partition"])}
                | {"panel": panel, "runs": len(case), "value": brief(value)}
                | {"low": brief(min(values)), "high": brief(max(values))}
                | {"text": _text(measure, value)}
            )
    columns = ["case", "partition", "panel", "runs", "value", "low", "high", "text"]
    made = framed(rows, columns)
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
