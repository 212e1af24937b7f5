"""Charts of bench.consensus: the consensus error against rounds, bytes and seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from bench.common.text import factor
from bench.reporting import look
from bench.reporting.chapter import Figure
from bench.reporting.launches import Group, TopologyRow
from bench.reporting.look import brief

X = {
    "rounds": ("rounds", "rounds", ""),
    "even": ("rounds, even axis", "rounds", ""),
    "bytes": ("bytes", "bytes sent by a worker", "B"),
    "seconds": ("seconds", "time of the rounds, each on its slowest rank", "s"),
}
"""Axis -> its name, title and unit."""
CAPTION = (
    "Root mean square distance of the workers to their mean, 1 at the start: one line per topology "
    "and launch. Thin and dashed: the rate predicted by the mixing matrix. A click in the legend "
    "highlights one topology."
)
TIPS = ("theory factor", "measured factor")
FORMS = {"rounds": ",d", "error": ".3~g", "bytes": ",.4~s", "seconds": ".3~g"}
"""Number of a tooltip -> its format."""
MARKS = 12
"""Approximate number of marked points per curve; colours alone do not distinguish thirty."""
LEAST = 1e-18
"""Smallest error drawn; exact agreement has no logarithm."""


def figures(groups: Sequence[Group[TopologyRow]]) -> list[Figure]:
    """Return the figures of a chapter; none without rows."""
    frame = curves(groups)
    if not len(frame):
        return []
    names = list(dict.fromkeys(frame["topology"]))
    least = min(float(x.settings["tolerance"] or 1) for group in groups for x in group.launches)
    drawn = {x: error(frame, names, x, least) for x in X}
    return [Figure("Consensus error", CAPTION, drawn, [name for name, *_ in X.values()])]


def curves(groups: Sequence[Group[TopologyRow]]) -> pd.DataFrame:
    """Return a point per row of every curve; `theory` extrapolates from the middle of the curve."""
    points: list[dict[str, Any]] = []
    curve_number = 0
    for group in groups:
        for launch in group.launches:
            for row, curve in zip(launch.rows, launch.curves, strict=True):
                about: dict[str, Any] = {"topology": row.topology, "condition": group.condition}
                about |= {"seed": row.seed, "curve": curve_number}
                about |= {"theory factor": factor(row.theory_factor)}
                about |= {"measured factor": factor(row.measured_factor)}
                points += [about | point for point in _points(row.theory_factor, curve)]
                curve_number += 1
    return pd.DataFrame(points)


def _points(theory: float, curve: dict[str, list[float]]) -> list[dict[str, Any]]:
    n = len(curve["k"])
    middle = next(i for i, k in enumerate(curve["k"]) if 2 * k >= curve["k"][-1])
    begin, high = curve["k"][middle], curve["error"][middle]
    every = -(-n // MARKS)
    points = []
    for i, (k, error, sent, seconds) in enumerate(zip(*curve.values(), strict=True)):
        point = {"rounds": k, "error": max(brief(error), LEAST), "marked": i % every == 0}
        point |= {"bytes": brief(sent), "seconds": brief(seconds)}
        if 0 < theory < 1:
            point["theory"] = max(brief(high * theory ** (k - begin)), LEAST)
        points.append(point)
    return points


def error(frame: pd.DataFrame, names: Sequence[str], x: str, least: float) -> look.Chart:
    """Chart the error on a log axis, down to a tenth of `least`, against x, one of X."""
    encoding = look.many("topology:N", names)
    chosen = alt.selection_point(fields=["topology"], bind="legend")
    decades = [10.0**p for p in range(-20, 1) if 10.0**p >= least / 10]
    label = "datum.value == 1 ? '1' : format(datum.value, '~e')"
    base = alt.Chart().encode(
        x=_across(frame, x),
        y=alt.Y(
            "error:Q",
            title="consensus error",
            scale=alt.Scale(type="log", domain=[least / 10, 1.5], nice=False),
            axis=alt.Axis(values=decades, labelExpr=label),
        ),
        color=encoding["color"],
        detail="curve:N",
        opacity=alt.condition(chosen, alt.value(0.9), alt.value(0.06)),
    )
    about = ["topology", "condition"] if frame["condition"].nunique() > 1 else ["topology"]
    tooltip = [alt.Tooltip(f"{name}:N") for name in about]
    tooltip += [alt.Tooltip(f"{name}:Q", format=form) for name, form in FORMS.items()]
    tooltip += [alt.Tooltip(f"{name}:N") for name in (*TIPS, "seed")]
    marks = base.mark_point(filled=True, size=36, clip=True).encode(shape=encoding["shape"])
    marks = marks.add_params(chosen)  # on the layer that owns the legend
    layers = [
        base.mark_line(strokeWidth=1.8, clip=True),
        marks.transform_filter("datum.marked"),
        base.mark_point(filled=True, size=90, clip=True).encode(
            opacity=alt.value(0), tooltip=tooltip
        ),
    ]
    if x in ("rounds", "even") and "theory" in frame:
        slope = base.mark_line(strokeWidth=1, strokeDash=[4, 4], clip=True)
        layers.insert(0, slope.encode(y="theory:Q"))
    return look.panels(alt.layer(*layers), frame, 380)


def _across(frame: pd.DataFrame, x: str) -> alt.X:
    """Return the horizontal axis: symmetric-log with 0, or linear."""
    _, title, unit = X[x]
    label = f"format(datum.value, '~s') + '{unit}'"
    field = "rounds" if x == "even" else x
    above = frame[field][frame[field] > 0]
    if x == "even" or above.empty:
        axis = alt.Axis(labelExpr=label, tickCount=8, labelSeparation=6)
        return alt.X(f"{field}:Q", title=title, scale=alt.Scale(nice=False), axis=axis)
    scale = alt.Scale(type="symlog", constant=float(above.min()), nice=False)
    axis = alt.Axis(labelExpr=label, values=[0, *look.decades(above)], labelSeparation=6)
    return alt.X(f"{field}:Q", title=title, scale=scale, axis=axis)
