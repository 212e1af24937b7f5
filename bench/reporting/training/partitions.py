"""Charts of the metric by partition: a heat map, and the metric against label skew."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import altair as alt
import pandas as pd

from bench.common.text import format_bytes, format_number, setting_label, since_mark
from bench.reporting import look
from bench.reporting.chapter import Figure
from bench.reporting.look import Mark, brief, frame_of, labels
from bench.reporting.training import since
from bench.reporting.training.ranking import rank, resolution_of, values_of
from bench.reporting.training.runs import Digest
from bench.reporting.training.sections import Section
from bench.results.schema import COMPLETE


@dataclass(frozen=True)
class Measure:
    """A number of a case that a map can show."""

    title: str
    column: str
    """Column of Run.row()."""
    direction: str
    """`max` or `min`, the better direction; empty for that of the metric."""


MEASURES = {
    "mean": Measure("mean model", "metric", ""),
    "worst": Measure("worst worker", "metric_worst", ""),
    "step": Measure("step ms", "step_ms", "min"),
    "bytes": Measure("bytes per worker-step", "bytes_per_step", "min"),
}
MAPPED = (
    "Median over the complete runs of a case; darker is better. Bold: apart from all others of its "
    "partition, by intervals over at least 3 seeds or launches. Filters do not change the medians."
)
SKEWED = (
    "Point: a complete run. Line: medians over seeds. The skew, a normalised Jensen-Shannon "
    "divergence, is 0 if all workers have the same distribution of labels, 1 if no two workers "
    "share a label."
)
LIMITS = {"low": "smallest", "high": "largest"}
"""Column of a frame -> its label in tooltips."""
SHADES = ("#edf4f9", "#0072B2")
"""Colours of the worst and of the best cell, legible on light and dark pages."""
PAIRED = 3
"""Maximum number of partitions for two panels side by side."""
CHARACTER = 5.9
"""Approximate width of a character of a label, px."""
DARK = 0.55
"""Shade from which the text of a cell is white."""


def frame(section: Section, measure: Measure) -> pd.DataFrame:
    """Return a row per complete case: the median over its runs, and a shade from 0 to 1 (best).

    `panel` has the varying settings except algorithm and partition. The text of a cell is in `bold`
    for the winner of a partition, else in `text`. Cases with a missing number are left out.
    """
    rest = [x for x in section.varying if x not in ("algorithm", "partition")]
    rows: list[Mark] = []
    numbers: list[list[float]] = []
    for number, case in section.complete():
        values = [run.row.number(measure.column) for run in case]
        if all(map(math.isfinite, values)):
            panel = ", ".join(setting_label(x, case[0].settings[x]) for x in rest)
            value = median(values)
            numbers.append(values_of(case, measure.column))
            rows.append(
                labels(section, case[0])
                | {"case": number, "partition": str(case[0].settings["partition"])}
                | {"panel": panel, "runs": len(case), "value": brief(value)}
                | {"low": brief(min(values)), "high": brief(max(values))}
                | {"text": _text(measure, value) + _mark(measure, case)}
            )
    columns = ["case", "partition", "panel", "runs", "value", "low", "high", "text"]
    cells = frame_of(rows, columns)
    direction = measure.direction or section.direction
    least = resolution_of(section.runs, measure.column)
    cells["shade"] = [brief(x) for x in _shades(cells["value"].tolist(), direction, least)]
    best = _winners(cells, numbers, direction, least)
    cells["bold"] = cells["text"].where(best, "")
    cells["text"] = cells["text"].where(~best, "")
    return cells


def mapped(frame: pd.DataFrame) -> bool:
    """Report whether there are two algorithms and two partitions to compare."""
    return frame["algorithm"].nunique() > 1 and frame["partition"].nunique() > 1


def heat_map(frame: pd.DataFrame, measure: Measure) -> look.Chart:
    """Chart a cell per algorithm and partition, darker for better values; the best are bold."""
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
    chart: look.Chart = sized.facet(
        data=data, facet=look.facet(data), columns=columns, spacing=look.SPACING
    )
    return chart


def _text(measure: Measure, value: float) -> str:
    if measure.column == "bytes_per_step":
        return format_bytes(value)
    return format_number(value, 3)


def _mark(measure: Measure, case: Sequence[Digest]) -> str:
    """Return the mark of the worst worker some steps after the last exchange; else empty."""
    worst = measure.column == "metric_worst"
    return since_mark(max(run.row.since for run in case)) if worst else ""


def _shades(values: list[float], direction: str, least: float) -> list[float]:
    """Return 0 for the worst to 1 for the best, logarithmic for a wide range.

    least: smallest range of the scale, the resolution of the values; a smaller one is centred.
    """
    if not values:
        return []
    low, high = min(values), max(values)
    if low > 0 and high > look.LOG_RATIO * low:
        values = [math.log(x) for x in values]
        low, high = math.log(low), math.log(high)
    if high == low:
        return [0.0] * len(values)
    if high - low < least:
        middle = (low + high) / 2
        low, high = middle - least / 2, middle + least / 2
    rising = [(x - low) / (high - low) for x in values]
    return rising if direction == "max" else [1 - x for x in rising]


def _winners(
    frame: pd.DataFrame, numbers: Sequence[Sequence[float]], direction: str, least: float
) -> pd.Series[bool]:
    """Report for each row whether it is the winner of its partition and panel.

    numbers: values of each row, one per seed or launch; least: their resolution.
    """
    result = pd.Series(False, index=frame.index)
    for rows in frame.groupby(["partition", "panel"]).groups.values():
        places = [int(x) for x in rows]
        winner = rank([numbers[i] for i in places], direction, least).winner
        if winner is not None:
            result.iloc[places[winner]] = True
    return result


MODELS = {"metric": "mean model", "metric_worst": "worst worker"}
LEAST_SKEWS = 3
"""Minimum number of partitions with different skew that make a curve."""
FINE = 0.02
"""Resolution at which label skews count as different."""


def skew_rows(section: Section) -> pd.DataFrame:
    """Return two rows per complete run: label skew and metric of mean model and worst worker.

    `condition` has the model and the varying settings except algorithm and partition.
    """
    rest = [x for x in section.varying if x not in ("algorithm", "partition")]
    rows = [
        {
            "algorithm": str(run.settings["algorithm"]),
            "partition": str(run.settings["partition"]),
            "seed": run.row.seed,
            "run": number,
            "model": model,
            "condition": ", ".join([model, *(setting_label(x, run.settings[x]) for x in rest)]),
            "js": brief(run.row.label_js),
            "metric": brief(run.row.number(name)),
            "since": since_mark(run.row.since).strip() if name == "metric_worst" else "",
        }
        for number, run in enumerate(section.runs)
        if run.row.status == COMPLETE
        for name, model in MODELS.items()
        if math.isfinite(run.row.number(name)) and math.isfinite(run.row.label_js)
    ]
    columns = ["algorithm", "partition", "seed", "run", "model", "condition", "js", "metric"]
    return pd.DataFrame(rows, columns=[*columns, "since"])


def curved(frame: pd.DataFrame) -> bool:
    """Report whether the runs of a condition have enough different skews for a curve."""
    skews = (frame["js"] / FINE).round().groupby(frame["condition"]).nunique()
    return bool((skews >= LEAST_SKEWS).any())


def against_skew(frame: pd.DataFrame, metric: str, direction: str) -> look.Chart:
    """Chart the final metric against label skew: a point per run, a line through the medians."""
    scale = look.metric_scale(frame["metric"], direction)
    x = alt.X(
        "js:Q",
        title="label skew",  # as wide as a panel of a narrow page
        scale=alt.Scale(zero=True),
        axis=look.few_ticks(),
    )
    y = alt.Y("metric:Q", title=f"final {metric}", scale=scale)
    tips = [alt.Tooltip(f"{name}:N") for name in ("algorithm", "partition", "seed", "condition")]
    tips += [
        alt.Tooltip("js:Q", title="label skew", format=".3f"),
        alt.Tooltip("metric:Q", title=metric, format=".4g"),
    ]
    base = alt.Chart().encode(x=x, y=y, color=look.colour_of(frame, True), tooltip=tips)
    since_tip = alt.Tooltip("since:N", title="steps since an exchange")
    points = base.mark_point(size=22, filled=True, opacity=0.45).encode(tooltip=[*tips, since_tip])
    lines = (
        base.transform_aggregate(
            js="median(js)",
            metric="median(metric)",
            groupby=["algorithm", "partition", "condition"],
        )
        .mark_line(strokeWidth=2, point=False)
        .encode(tooltip=[tips[0], tips[1], tips[3], tips[4], tips[5]])
    )
    marked = base.mark_text(dx=5, align="left", fontSize=10).transform_filter("datum.since !== ''")
    layers = [points, lines, *([marked.encode(text="since:N")] if frame["since"].any() else [])]
    return look.panels(alt.layer(*layers), frame, 320)


def chart_of(sections: Sequence[Section]) -> look.Chart | None:
    """Return the chart of the first section with enough different skews; None without one."""
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
    title = f"Algorithm by partition: final {section.metric} and its cost"
    return (
        [
            Figure(
                title,
                MAPPED + since.caption(section),
                drawn,
                axes,
            )
        ]
        if drawn
        else []
    )


def skew_figure(section: Section) -> list[Figure]:
    """Return the figure of the metric against label skew, where the runs differ enough in it."""
    chart = chart_of([section])
    title = f"{section.metric.capitalize()} against label skew"
    return (
        [
            Figure(
                title,
                SKEWED + since.caption(section),
                {"skew": chart},
            )
        ]
        if chart
        else []
    )
