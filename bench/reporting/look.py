"""The look of the charts: colours, scales, panels.

Texts and lines are drawn in `currentColor`, so the page decides between light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import altair as alt
import pandas as pd

from bench.reporting.training.runs import Digest, Section

Chart: TypeAlias = alt.FacetChart | alt.LayerChart | alt.VConcatChart | alt.Chart
Encoding: TypeAlias = dict[str, Any]
"""Channel -> its encoding."""

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
"""Okabe, Ito 2008, without the yellow and the black that light or dark paper swallows."""
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross")
"""With six or seven colours each pair is another one up to thirty names."""
DASHES = ([1, 0], [9, 2, 2, 2])
"""Of the names with the first use of a colour, with the second."""
GREY = PALETTE[-1]
"""What others are measured against."""
PHASES = ("#9AA5B1", "#0072B2", "#56B4E9", "#E69F00", "#D55E00", "#CC79A7")
"""In the order of algorithms.wire.meter.PHASES: the exchange, copy and wait, is warm."""
SPACING = 14
"""px between panels below or beside each other."""
WIDTH = 930
"""px of a single panel; two beside each other take the same."""
PLAIN = "format(datum.value, '.6~g')"
"""A number of an axis; a format would be cut to the digits of a tick, and 10 become 1e+1."""
LOG_RATIO = 20
"""A metric that is to become small is drawn on a log axis where it falls by more than this."""


def configured(chart: Chart) -> dict[str, Any]:
    """The Vega-Lite specification of a chart, in the look of the page."""
    ink = "currentColor"
    font = "system-ui, sans-serif"
    axis: dict[str, Any] = {
        "labelColor": ink,
        "titleColor": ink,
        "domainColor": ink,
        "tickColor": ink,
    }
    axis |= {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": 500, "labelLimit": 320}
    axis |= {"gridColor": ink, "gridOpacity": 0.13, "domainOpacity": 0.4, "tickOpacity": 0.4}
    head: dict[str, Any] = {
        "labelColor": ink,
        "labelFontSize": 13,
        "labelFontWeight": 600,
        "labelLimit": WIDTH,
    }
    legend: dict[str, Any] = {
        "labelColor": ink,
        "titleColor": ink,
        "labelFontSize": 12,
        "labelLimit": 320,
    }
    config = {
        "background": "transparent",
        "font": font,
        "axis": axis | {"titlePadding": 8, "labelPadding": 5},
        "header": head | {"titleColor": ink},
        "legend": legend | {"orient": "top", "symbolStrokeWidth": 2, "columns": 4},
        "view": {"stroke": None},
    }
    with alt.data_transformers.disable_max_rows():
        specification: dict[str, Any] = chart.to_dict()
    return specification | {"config": config}


def rows(panel: Any, frame: pd.DataFrame) -> Chart:
    """A panel, a chart or layers, for each condition, below each other."""
    made: Chart = panel.properties(width=WIDTH - 140, height=alt.Step(30)).facet(
        data=frame, facet=facet(frame), columns=1, spacing=SPACING
    )
    return made


def panels(panel: Any, frame: pd.DataFrame, height: int) -> Chart:
    """A panel, a chart or layers, for each condition: one as wide as the page, or two a row."""
    conditions = list(dict.fromkeys(frame["condition"]))
    columns = 1 if len(conditions) == 1 else 2
    own_axes = len(conditions) > columns  # else an empty place would have axes, and a row none
    between = 80 if own_axes else 20
    sized = panel.properties(width=(WIDTH - between * (columns - 1)) // columns, height=height)
    if conditions == [""]:
        alone: Chart = sized.properties(data=frame)
        return alone
    made = sized.facet(data=frame, facet=facet(frame), columns=columns)
    if own_axes:
        made = made.resolve_axis(x="independent", y="independent")
    several: Chart = made
    return several


def facet(frame: pd.DataFrame) -> alt.Facet:
    """Panels by condition, in the order of the data, their names above them."""
    conditions = list(dict.fromkeys(frame["condition"]))
    header = alt.Header(title=None, labelAnchor="start", labelOrient="top")
    return alt.Facet("condition:N", sort=conditions, header=header)


def colour_of(frame: pd.DataFrame, legend: bool) -> alt.Color:
    """A colour an algorithm, the same in every chart of a section."""
    names = sorted(set(frame["algorithm"]))
    colours = [PALETTE[i % len(PALETTE)] for i in range(len(names))]
    shown = alt.Legend(title=None) if legend else None
    return alt.Color("algorithm:N", scale=alt.Scale(domain=names, range=colours), legend=shown)


def dash_of(frame: pd.DataFrame) -> alt.StrokeDash | None:
    """Dashes that tell algorithms of one colour apart; none where the palette is enough."""
    names = sorted(set(frame["algorithm"]))
    if len(names) <= len(PALETTE):
        return None
    dashes = [[1, 0] if i < len(PALETTE) else [6, 3] for i in range(len(names))]
    scale = alt.Scale(domain=names, range=dashes)
    return alt.StrokeDash("algorithm:N", scale=scale, legend=alt.Legend(title=None))


def many(field: str, names: Sequence[str], against: str = "") -> Encoding:
    """Colour, shape and dashes of up to thirty names, for eyes that tell few colours apart, too.

    `against`, what the others are measured against, is grey and dashed.
    """
    others = [name for name in names if name != against]
    palette = [x for x in PALETTE if x != GREY or others == list(names)]
    rounds = {name: divmod(i, len(palette)) for i, name in enumerate(others)}
    colours = [GREY if x == against else palette[rounds[x][1]] for x in names]
    shapes = ["circle" if x == against else SHAPES[others.index(x) % len(SHAPES)] for x in names]
    dashes = [[5, 4] if x == against else DASHES[rounds[x][0] % len(DASHES)] for x in names]
    legend = alt.Legend(title=None, symbolSize=60, symbolOpacity=1, symbolStrokeWidth=0, columns=7)
    domain = list(names)
    return {
        "color": alt.Color(field, scale=alt.Scale(domain=domain, range=colours), legend=legend),
        "shape": alt.Shape(field, scale=alt.Scale(domain=domain, range=shapes), legend=legend),
        "strokeDash": alt.StrokeDash(
            field, scale=alt.Scale(domain=domain, range=dashes), legend=legend
        ),
    }


def algorithms() -> alt.Y:
    """A line an algorithm."""
    return alt.Y("algorithm:N", title=None, axis=alt.Axis(ticks=False, domain=False))


def metric_scale(values: pd.Series[float], direction: str) -> alt.Scale:
    """Linear, not from zero; logarithmic for what is to become small and falls far."""
    falls = values.min() > 0 and values.max() > LOG_RATIO * values.min()
    return logarithmic() if direction == "min" and falls else alt.Scale(zero=False)


def logarithmic() -> alt.Scale:
    """A log scale as wide as its data."""
    return alt.Scale(type="log", nice=False)


def decades(values: pd.Series[float]) -> list[float]:
    """1, 2, 5, 10, 20, ...: those in the range of positive values, few enough for an axis."""
    low, high = values.min(), values.max()
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(powers) < 7 else (1,)
    return [x for p in powers for m in steps if low <= (x := float(f"{m}e{p}")) <= high]


def few_ticks() -> alt.Axis:
    """An axis whose numbers do not crowd."""
    return alt.Axis(labelExpr=PLAIN, tickCount=8)


def tooltips() -> list[alt.Tooltip]:
    """What every tooltip begins with."""
    names = ("algorithm", "condition", "seed", "status")
    return [alt.Tooltip(f"{name}:N") for name in names]


Mark: TypeAlias = dict[str, Any]


def labels(section: Section, run: Digest) -> Mark:
    """What every mark says of its run."""
    return {
        "algorithm": str(run.settings["algorithm"]),
        "condition": section.condition(run),
        "seed": run.row.seed,
        "status": run.row.status,
    }


def framed(rows: list[Mark], values: Sequence[str]) -> pd.DataFrame:
    """The rows as a frame that has its columns without rows, too."""
    return pd.DataFrame(rows, columns=["algorithm", "condition", "seed", "status", *values])


def brief(value: float) -> float:
    """Six significant digits: more than a screen shows, half the bytes."""
    return float(f"{value:.6g}")
