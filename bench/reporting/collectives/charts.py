"""Charts of bench.collectives: time and bandwidth against size, and the fastest algorithms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import altair as alt
import pandas as pd

from bench.common.sizes import format_size
from bench.common.text import NONE, counted, figure
from bench.reporting import look
from bench.reporting.chapter import Figure
from bench.reporting.launches import Contestant
from bench.reporting.look import brief

SIZE = (
    "datum.value >= 1073741824 ? format(datum.value / 1073741824, '.4~g') + 'G' : "
    "datum.value >= 1048576 ? format(datum.value / 1048576, '.4~g') + 'M' : "
    "datum.value >= 1024 ? format(datum.value / 1024, '.4~g') + 'K' : datum.value"
)
"""Label expression of a size on an axis, similar to bench.common.sizes.format_size."""
MICROSECONDS = (
    "datum.value >= 1e6 ? datum.value / 1e6 + ' s' : "
    "datum.value >= 1e3 ? datum.value / 1e3 + ' ms' : datum.value + ' µs'"
)
"""Label expression of microseconds on an axis."""
WINNER = (
    "The algorithm with the smallest median. Pale: not told apart, as intervals of at least two "
    "algorithms overlap or there are fewer than 3 launches."
)
TIME = (
    "Median on the slowest rank; band: its 95 % confidence interval. Grey and dashed: the library. "
    "Dotted: the lower bound of any algorithm that sends messages, from latency and bandwidth; "
    "algorithms in shared memory can be faster. A click in the legend highlights one algorithm."
)
BANDWIDTH = (
    "Size divided by time, times 2(p - 1)/p: the load of a link, comparable across numbers of "
    "ranks. GB = 10^9 B."
)
LABELS = 14
"""Maximum number of sizes labelled on an axis."""
TIPS = (
    *("size", "median", "p99", "samples", "vs library", "bus bandwidth"),
    *("algorithm bandwidth", "lower bound", "sent per call", "sums", "remarks"),
)
WINNER_TIPS = (
    *("size", "median", "samples", "second", "not significantly faster than", "slowest"),
    "vs library",
)


def figures(measured: Measured, yardstick: str) -> list[Figure]:
    """Return the figures of a chapter; none without rows."""
    if not measured:
        return []
    frame, first = times(measured), winners(measured)
    names = list(dict.fromkeys(frame["algorithm"]))
    result = []
    if len(first):
        result.append(
            Figure("Smallest median by size", WINNER, {"winner": winner(first, names, yardstick)})
        )
    drawn = {"time": time(frame, names, yardstick)}
    if frame["vs_library"].notna().any():
        drawn["ratio"] = ratio(frame, names, yardstick)
    axes = ["time", "over the library's"]
    bus = {"bandwidth": bandwidth(frame, names, yardstick)}
    return [
        *result,
        Figure("Time of a call against the size of the vector", TIME, drawn, axes),
        Figure("Bus bandwidth against the size of the vector", BANDWIDTH, bus),
    ]


def time(frame: pd.DataFrame, names: Sequence[str], yardstick: str) -> look.Chart:
    """Chart the median time against size, both logarithmic, with the lower bound."""
    positive = pd.concat([frame["ci_lo_us"], frame["ci_hi_us"], frame["bound_us"]])
    scale = alt.Scale(type="log", nice=False, domainMin=0.6 * float(positive[positive > 0].min()))
    axis = alt.Axis(labelExpr=MICROSECONDS, values=look.decades(positive[positive > 0]))
    y = alt.Y("p50_us:Q", title="time of a call", scale=scale, axis=axis)
    dots = alt.Chart().mark_line(strokeDash=[1, 4], strokeWidth=1.8, color="currentColor")
    bound = dots.encode(x=_sizes(frame), y="mean(bound_us):Q", opacity=alt.value(0.75))
    word = alt.Chart().mark_text(align="left", dx=6, dy=11, color="currentColor", opacity=0.75)
    label = word.encode(x="min(bytes):Q", y="min(bound_us):Q", text=alt.value("lower bound"))
    return _lines(frame, names, yardstick, y, ("ci_lo_us:Q", "ci_hi_us"), bound, label)


def ratio(frame: pd.DataFrame, names: Sequence[str], yardstick: str) -> look.Chart:
    """Chart the median time relative to the library's in the same launch, both axes logarithmic."""
    finite = frame[frame["vs_library"].notna()]
    axis = alt.Axis(labelExpr="datum.value + 'x'", values=look.decades(finite["vs_library"]))
    title = "time over the library's"
    y = alt.Y("vs_library:Q", title=title, scale=look.logarithmic(), axis=axis)
    return _lines(finite, names, yardstick, y, None)


def bandwidth(frame: pd.DataFrame, names: Sequence[str], yardstick: str) -> look.Chart:
    """Chart the bus bandwidth against the logarithm of the size."""
    title = "bus bandwidth (GB/s)"
    y = alt.Y("busbw_GBps:Q", title=title, scale=alt.Scale(zero=True), axis=look.few_ticks())
    return _lines(frame, names, yardstick, y, ("busbw_lo:Q", "busbw_hi"))


def _lines(
    frame: pd.DataFrame,
    names: Sequence[str],
    yardstick: str,
    y: alt.Y,
    band: tuple[str, str] | None,
    *below: alt.Chart,
) -> look.Chart:
    """Chart lines and points of every algorithm over its interval, one panel per condition."""
    encoding = look.many("algorithm:N", names, yardstick)
    chosen = alt.selection_point(fields=["algorithm"], bind="legend")
    strong = alt.condition(chosen, alt.value(0.95), alt.value(0.06))
    base = alt.Chart().encode(x=_sizes(frame), y=y, color=encoding["color"])
    layers = [*below]
    if band:
        pale = alt.condition(chosen, alt.value(0.14), alt.value(0.02))
        layers.append(base.mark_area().encode(y=alt.Y(band[0]), y2=band[1], opacity=pale))
    width = alt.condition(alt.datum.algorithm == yardstick, alt.value(2.4), alt.value(1.6))
    tooltip = [alt.Tooltip(f"{x}:N") for x in (*_about(frame), *TIPS)]
    layers += [
        base.mark_line().encode(
            strokeDash=encoding["strokeDash"], opacity=strong, strokeWidth=width
        ),
        base.mark_point(filled=True, size=46)
        .encode(shape=encoding["shape"], opacity=strong, tooltip=tooltip)
        .add_params(chosen),  # on the layer that owns the legend
    ]
    return look.panels(alt.layer(*layers), frame, 380)


def winner(frame: pd.DataFrame, names: Sequence[str], yardstick: str) -> look.Chart:
    """Chart the fastest algorithm by size, one strip per condition."""
    colour = look.many("algorithm:N", names, yardstick)["color"]
    present = [name for name in names if name in set(frame["algorithm"])]
    legend = alt.Legend(
        title=None, symbolType="square", symbolSize=120, symbolStrokeWidth=0, values=present
    )
    conditions = list(dict.fromkeys(frame["condition"]))
    alone = len(conditions) == 1
    words = alt.Axis(ticks=False, domain=False, labels=not alone, labelLimit=320)
    marks = alt.Chart(frame).mark_rect(stroke="currentColor", strokeWidth=0.5, strokeOpacity=0.3)
    chart: alt.Chart = marks.encode(
        x=_sizes(frame, "left:Q"),
        x2="right",
        y=alt.Y("condition:N", title=None, sort=conditions, axis=words),
        color=colour.legend(legend),
        opacity=alt.condition("datum.sure", alt.value(0.95), alt.value(0.45)),
        tooltip=[alt.Tooltip(f"{x}:N") for x in (*_about(frame), *WINNER_TIPS)],
    ).properties(width=look.WIDTH - (0 if alone else 140), height=alt.Step(34))
    return chart


def _sizes(frame: pd.DataFrame, field: str = "bytes:Q") -> alt.X:
    """Return the logarithmic axis of sizes, with labels for some of them."""
    sizes = sorted(set(frame["bytes"].tolist()))
    every = -(-len(sizes) // LABELS)
    axis = alt.Axis(values=sizes[::every], labelExpr=SIZE, grid=field == "bytes:Q")
    scale = alt.Scale(type="log", base=2, nice=False)
    return alt.X(field, title="size of the vector (bytes)", scale=scale, axis=axis)


def _about(frame: pd.DataFrame) -> list[str]:
    """Return the names of the tooltips that every chart starts with."""
    several = frame["condition"].nunique() > 1
    return ["algorithm", "condition"] if several else ["algorithm"]


Measured: TypeAlias = Sequence[tuple[str, Sequence[Contestant]]]
"""Conditions and their ranked rows, see bench.reporting.collectives.report."""
NUMBERS = ("p50_us", "ci_lo_us", "ci_hi_us", "bound_us", "busbw_GBps")
FLAGS = {
    "!": "interval not reached",
    "s": "ranks did not start together",
    "t": "short relative to the resolution of the clock",
    "o": "more ranks than cores",
    "b": "no lower bound, because the measurement of the links was unsteady",
}
"""Meaning of the flags of a row; see bench.results.calls."""


def times(measured: Measured) -> pd.DataFrame:
    """Return the rows of the time charts: one per algorithm, size and condition."""
    result: list[dict[str, Any]] = []
    for condition, rows in measured:
        for row in sorted(rows, key=lambda row: row.bytes):
            columns = {"algorithm": row.algorithm, "condition": condition, "bytes": row.bytes}
            values = {name: brief(row.number(name)) for name in NUMBERS}
            values["vs_library"] = brief(row.vs_library)
            moved = row.busbw_GBps * row.p50_us
            values |= {"busbw_lo": brief(moved / row.ci_hi_us)}
            values |= {"busbw_hi": brief(moved / row.ci_lo_us)}
            result.append(columns | values | tips(row))
    return pd.DataFrame(result)


def tips(row: Contestant) -> dict[str, str]:
    """Return label -> text for all numbers of a row."""
    names = ("p50", "ci_lo", "ci_hi", "p99", "max")
    us = {name: figure(row.number(f"{name}_us")) for name in names}
    launches = f"{row.launches} launches of " if row.launches > 1 else ""
    remarks = [f"took {row.chosen}"] if row.chosen else []
    remarks += [FLAGS.get(flag, flag) for flag in row.flags]
    sent = f"{counted(row.messages, 'message')}, {row.bytes_sent:,.0f} B by the busiest rank"
    wrong = {0: "exact", -1: "not checked"}
    return {
        "size": format_size(row.bytes),
        "median": f"{us['p50']} µs, 95 % interval {us['ci_lo']} to {us['ci_hi']}",
        "p99": f"{us['p99']} µs, longest {us['max']}",
        "samples": launches + counted(row.n, "call"),
        "vs library": times_over(row.vs_library),
        "bus bandwidth": f"{figure(row.busbw_GBps)} GB/s",
        "algorithm bandwidth": f"{figure(row.algbw_GBps)} GB/s",
        "lower bound": bound_text(row),
        "sent per call": sent if row.bytes_sent >= 0 else "not counted",
        "sums": wrong.get(row.wrong, f"{row.wrong:,.0f} wrong elements"),
        "remarks": ", ".join(remarks) or NONE,
    }


def bound_text(row: Contestant) -> str:
    """Return the lower bound and its share of the median."""
    if math.isnan(row.bound_us):
        return NONE
    return f"{figure(row.bound_us)} µs, {row.bound_percent:.3g} % of the median"


def winners(measured: Measured) -> pd.DataFrame:
    """Return the fastest algorithm of each size and condition, with its lead over the others."""
    result: list[dict[str, Any]] = []
    for condition, rows in measured:
        ranking: dict[int, list[Contestant]] = {}
        for row in sorted((x for x in rows if x.competes), key=lambda x: x.p50_us):
            ranking.setdefault(row.bytes, []).append(row)
        for size, (left, right) in edges(sorted(ranking)).items():
            best, *slower = ranking[size]
            close = ", ".join(row.algorithm for row in slower if row.place == "=")
            result.append(
                {
                    "algorithm": best.algorithm,
                    "condition": condition,
                    "bytes": size,
                    "left": brief(left),
                    "right": brief(right),
                    "sure": best.ahead,
                    "not significantly faster than": close or NONE,
                    "second": _behind(best, slower[0]) if slower else NONE,
                    "slowest": _behind(best, slower[-1]) if slower else NONE,
                }
                | {x: tips(best)[x] for x in ("size", "median", "samples", "vs library")}
            )
    return pd.DataFrame(result)


def edges(sizes: Sequence[int]) -> dict[int, tuple[float, float]]:
    """Return the ends of the mark of each size: half-way to its neighbours on a log axis."""
    if not sizes:
        return {}
    between = [math.sqrt(a * b) for a, b in pairwise(sizes)]
    step = sizes[0] / between[0] if between else 0.5
    last = sizes[-1] / between[-1] if between else 2.0
    ends = [sizes[0] * step, *between, sizes[-1] * last]
    return dict(zip(sizes, pairwise(ends), strict=True))


def _behind(best: Contestant, other: Contestant) -> str:
    more = other.p50_us / best.p50_us - 1
    return f"{other.algorithm}, {figure(other.p50_us)} µs, {more:.1%} longer"


def times_over(ratio: float) -> str:
    """Return a ratio of times; a dash for NaN."""
    return NONE if math.isnan(ratio) else f"{ratio:.3g}x"
