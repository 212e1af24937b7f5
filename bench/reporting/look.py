"""Look of the charts: colours, scales, panels, and the columns that all marks share.

Texts and lines are drawn in `currentColor`, so the page chooses between light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import altair as alt
import pandas as pd

from bench.reporting.training.runs import Digest
from bench.reporting.training.sections import Section

Chart: TypeAlias = alt.FacetChart | alt.LayerChart | alt.VConcatChart | alt.Chart
Encoding: TypeAlias = dict[str, Any]
"""Channel -> its Altair encoding."""

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
"""Colours of Okabe and Ito, 2008, without yellow and black, which lack contrast on one theme."""
SHAPES = (
    *("circle", "square", "triangle-up", "diamond", "cross", "triangle-down"),
    *("triangle-right", "triangle-left"),
    "M-.9,-.9L.9,-.9L-.9,.9L.9,.9Z",  # hourglass
    "M-1,-.35L1,-.35L1,.35L-1,.35Z",  # horizontal bar
    "M-.9,-.9L.9,.9L.9,-.9L-.9,.9Z",  # bow tie
    "M-.35,-1L.35,-1L.35,1L-.35,1Z",  # vertical bar
)
"""Shapes of points, which alone distinguish twelve names."""
DASHES = ([1, 0], [9, 2, 2, 2])
"""Dashes of names at the first and at the second use of a colour."""
ROUNDS = ([1, 0], [6, 3], [2, 2])
"""Dashes of the lines of algorithms at the first, second and third use of a colour."""
GREY = PALETTE[-1]
"""Colour of the reference."""
PHASES = (
    *("#9AA5B1", "#0072B2", "#56B4E9", "#E69F00", "#D55E00", "#CC79A7"),
    *("#5E8BE0", "#44A566", "#E3DCCB"),
)
"""Colours in the order of algorithms.wire.meter.PIPELINE_PHASES; warm for copy and wait, the
exchange, and pale for the bubble."""
SPACING = 14
"""Distance between panels, px."""
WIDTH = 930
"""Width of a single panel, px; two side by side take the same width."""
PLAIN = "format(datum.value, '.6~g')"
"""Label expression of a number; a format would drop digits and write 10 as 1e+1."""
LOG_RATIO = 20
"""Range ratio above which a metric to be minimised is drawn on a log axis."""


def configured(chart: Chart) -> dict[str, Any]:
    """Return the Vega-Lite specification of a chart in the style of the page."""
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
        # Altair validates every part at its creation; once more would take a third of the time.
        specification: dict[str, Any] = chart.to_dict(validate=False)
    return specification | {"config": config}


def rows(panel: Any, frame: pd.DataFrame) -> Chart:
    """Return one panel per condition, below each other."""
    chart: Chart = panel.properties(width=WIDTH - 140, height=alt.Step(30)).facet(
        data=frame, facet=facet(frame), columns=1, spacing=SPACING
    )
    return chart


def panels(panel: Any, frame: pd.DataFrame, height: int) -> Chart:
    """Return one panel per condition: one of full width, or two per row."""
    conditions = list(dict.fromkeys(frame["condition"]))
    columns = 1 if len(conditions) == 1 else 2
    own_axes = len(conditions) > columns  # a shared axis would be drawn in an empty cell
    between = 80 if own_axes else 20
    sized = panel.properties(width=(WIDTH - between * (columns - 1)) // columns, height=height)
    if conditions == [""]:
        alone: Chart = sized.properties(data=frame)
        return alone
    chart = sized.facet(data=frame, facet=facet(frame), columns=columns)
    if own_axes:
        chart = chart.resolve_axis(x="independent", y="independent")
    several: Chart = chart
    return several


def facet(frame: pd.DataFrame) -> alt.Facet:
    """Return panels by condition in the order of the data, with titles above."""
    conditions = list(dict.fromkeys(frame["condition"]))
    header = alt.Header(title=None, labelAnchor="start", labelOrient="top")
    return alt.Facet("condition:N", sort=conditions, header=header)


def colour_of(frame: pd.DataFrame, legend: bool) -> alt.Color:
    """Return a colour scale by algorithm, equal in every chart of a section."""
    names = sorted(set(frame["algorithm"]))
    colours = [PALETTE[i % len(PALETTE)] for i in range(len(names))]
    shown = alt.Legend(title=None) if legend else None
    return alt.Color("algorithm:N", scale=alt.Scale(domain=names, range=colours), legend=shown)


def dash_of(frame: pd.DataFrame) -> alt.StrokeDash | None:
    """Return dashes for algorithms that share a colour; None if the palette suffices."""
    names = sorted(set(frame["algorithm"]))
    if len(names) <= len(PALETTE):
        return None
    dashes = [ROUNDS[i // len(PALETTE) % len(ROUNDS)] for i in range(len(names))]
    scale = alt.Scale(domain=names, range=dashes)
    return alt.StrokeDash("algorithm:N", scale=scale, legend=alt.Legend(title=None))


def shape_of(frame: pd.DataFrame) -> alt.Shape:
    """Return shapes of points by algorithm; with colours or dashes they distinguish all names."""
    names = sorted(set(frame["algorithm"]))
    shapes = [SHAPES[i % len(SHAPES)] for i in range(len(names))]
    scale = alt.Scale(domain=names, range=shapes)
    return alt.Shape("algorithm:N", scale=scale, legend=alt.Legend(title=None))


def many(field: str, names: Sequence[str], against: str = "") -> Encoding:
    """Return colour, shape and dashes of up to thirty names, also for colour-blind readers.

    `against`, the reference, is grey and dashed.
    """
    compared = [name for name in names if name != against]
    palette = [x for x in PALETTE if x != GREY or compared == list(names)]
    rounds = {name: divmod(i, len(palette)) for i, name in enumerate(compared)}
    colours = [GREY if x == against else palette[rounds[x][1]] for x in names]
    shapes = ["circle" if x == against else SHAPES[compared.index(x) % len(SHAPES)] for x in names]
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
    """Return a vertical axis with a row per algorithm."""
    return alt.Y("algorithm:N", title=None, axis=alt.Axis(ticks=False, domain=False))


def metric_scale(values: pd.Series[float], direction: str) -> alt.Scale:
    """Return a linear scale without zero, or a log scale for a loss that falls far."""
    falls = values.min() > 0 and values.max() > LOG_RATIO * values.min()
    return logarithmic() if direction == "min" and falls else alt.Scale(zero=False)


def logarithmic() -> alt.Scale:
    """Return a log scale that ends at its data."""
    return alt.Scale(type="log", nice=False)


def decades(values: pd.Series[float]) -> list[float]:
    """Return the round numbers 1, 2, 5, 10, ... among positive values, few enough for an axis."""
    low, high = values.min(), values.max()
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(powers) < 7 else (1,)
    return [x for p in powers for m in steps if low <= (x := float(f"{m}e{p}")) <= high]


def few_ticks() -> alt.Axis:
    """Return an axis with few ticks."""
    return alt.Axis(labelExpr=PLAIN, tickCount=8)


def tooltips() -> list[alt.Tooltip]:
    """Return the tooltips that every chart starts with."""
    names = ("algorithm", "condition", "seed", "status")
    return [alt.Tooltip(f"{name}:N") for name in names]


Mark: TypeAlias = dict[str, Any]


def labels(section: Section, run: Digest) -> Mark:
    """Return the columns that every mark of a run has."""
    return {
        "algorithm": str(run.settings["algorithm"]),
        "condition": section.condition(run),
        "seed": run.row.seed,
        "status": run.row.status,
    }


def frame_of(rows: list[Mark], values: Sequence[str]) -> pd.DataFrame:
    """Return the rows as a frame with the given columns, also without rows."""
    return pd.DataFrame(rows, columns=["algorithm", "condition", "seed", "status", *values])


def brief(value: float) -> float:
    """Round to six significant digits, which halves the size of the page."""
    return float(f"{value:.6g}")
