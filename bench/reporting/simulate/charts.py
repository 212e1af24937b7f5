"""Charts of bench.simulate: step time and efficiency against the number of workers."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

from bench.reporting import look
from bench.reporting.chapter import Figure
from bench.reporting.look import brief
from bench.results.rows import SimulationRow

FORMS = {"workers": ",d", "step ms": ",.4~g", "efficiency": ".1%", "exposed ms": ",.4~g"}
"""Number of a tooltip -> its format."""
TIME = "Mean time of a step of the slowest worker, computed rather than measured."
EFFICIENCY = "Time of computing, mean over workers, relative to the step of the slowest worker."


def figures(cases: Sequence[tuple[str, Sequence[SimulationRow]]]) -> list[Figure]:
    """Return the figures of a chapter; none without rows. cases: rows by condition."""
    points = frame(cases)
    if not len(points):
        return []
    logarithmic = look.logarithmic() if (points["step ms"] > 0).all() else alt.Scale()
    time = alt.Y("step ms:Q", title="step time (ms)", scale=logarithmic)
    share = alt.Y(
        "efficiency:Q",
        title="efficiency",
        scale=alt.Scale(domain=[0, 1]),
        axis=alt.Axis(format="%", tickCount=6),
    )
    return [
        Figure("Step time", TIME, {"step time": _lines(points, time)}),
        Figure("Efficiency", EFFICIENCY, {"efficiency": _lines(points, share)}),
    ]


def frame(cases: Sequence[tuple[str, Sequence[SimulationRow]]]) -> pd.DataFrame:
    """Return a point per algorithm, number of workers and condition."""
    return pd.DataFrame(
        {
            "algorithm": row.algorithm,
            "condition": condition,
            "workers": row.workers,
            "unit": row.unit,
            "step ms": brief(row.step_ms),
            "efficiency": brief(row.efficiency),
            "exposed ms": brief(row.exposed_ms),
        }
        for condition, rows in cases
        for row in rows
    )


def _lines(points: pd.DataFrame, y: alt.Y) -> look.Chart:
    """Return a line per algorithm over the logarithm of the number of workers."""
    encoding = look.many("algorithm:N", list(dict.fromkeys(points["algorithm"])))
    totals = sorted(set(points["workers"]))
    x = alt.X(
        "workers:Q",
        title=points["unit"][0],
        scale=look.logarithmic(),
        axis=alt.Axis(values=totals, format=",d", labelOverlap=True, labelFlush=True),
    )
    tooltip = [alt.Tooltip("algorithm:N")]
    tooltip += [alt.Tooltip(f"{name}:Q", format=form) for name, form in FORMS.items()]
    base = alt.Chart().encode(x=x, y=y, color=encoding["color"])
    marks = base.mark_point(filled=True, size=60).encode(shape=encoding["shape"], tooltip=tooltip)
    return look.panels(alt.layer(base.mark_line(strokeWidth=1.8), marks), points, 320)
