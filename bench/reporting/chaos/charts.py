"""Charts of bench.chaos: useful steps and time, and recovery, of each run by strategy."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

from bench.reporting import look
from bench.reporting.chapter import Figure
from bench.reporting.look import brief
from bench.results.rows import ChaosRow
from bench.results.schema import COMPLETE

FORMS = {"plan": ",d", "useful steps": ".2%", "useful time": ".2%", "recovery ms": ",.4~g"}
"""Number of a tooltip -> its format."""
USEFUL = "Useful part of each run: of the steps computed, and of the time from the first step on."
RECOVERY = "Time from a fault to the end of the next step, median of each run."


def figures(measured: Sequence[tuple[str, Sequence[ChaosRow]]]) -> list[Figure]:
    """Return the figures of a chapter; none without complete runs. measured: rows by condition."""
    points = frame(measured)
    if not len(points):
        return []
    share = {
        name: _points(
            points, alt.Y(f"{name}:Q", axis=alt.Axis(format="%"), scale=alt.Scale(zero=False))
        )
        for name in ("useful steps", "useful time")
    }
    result = [Figure("Useful steps and time", USEFUL, share, axes=("of the steps", "of the time"))]
    struck = points.dropna(subset=["recovery ms"])
    if len(struck):
        time = alt.Y("recovery ms:Q", title="recovery (ms)", scale=look.logarithmic())
        result.append(Figure("Recovery", RECOVERY, {"recovery": _points(struck, time)}))
    return result


def frame(measured: Sequence[tuple[str, Sequence[ChaosRow]]]) -> pd.DataFrame:
    """Return a point per complete run."""
    return pd.DataFrame(
        {
            "strategy": row.strategy,
            "condition": condition,
            "plan": row.plan,
            "useful steps": brief(row.goodput),
            "useful time": brief(row.useful_share),
            "recovery ms": brief(row.recovery_ms),
        }
        for condition, rows in measured
        for row in rows
        if row.status == COMPLETE
    )


def _points(points: pd.DataFrame, y: alt.Y) -> look.Chart:
    """Return a point per run over its strategy."""
    names = list(dict.fromkeys(points["strategy"]))
    encoding = look.many("strategy:N", names)
    tooltip = [alt.Tooltip("strategy:N")]
    tooltip += [alt.Tooltip(f"{name}:Q", format=form) for name, form in FORMS.items()]
    x = alt.X("strategy:N", title=None, sort=names, axis=alt.Axis(labelAngle=0))
    marks = alt.Chart().mark_point(filled=True, size=70, opacity=0.8)
    marks = marks.encode(
        x=x, y=y, color=encoding["color"], shape=encoding["shape"], tooltip=tooltip
    )
    return look.panels(alt.layer(marks), points, 320)
