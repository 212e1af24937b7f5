"""Charts of bench.pipeline: minibatch and bubble beside their models, and beside torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import altair as alt
import pandas as pd

from bench.reporting import look
from bench.reporting.chapter import Figure
from bench.reporting.look import brief
from bench.results.rows import PipelineRow

MINIBATCH = (
    "Median of a minibatch on its slowest rank, with its 95 % interval. Dashed: by the model clock "
    "with the measured passes and link. Dotted: equal stages without latency."
)
BUBBLE = (
    "Idle share of the time of all ranks. Dashed: by the model clock with the measured passes and "
    "link. Dotted: the formula of equal stages without latency."
)
TORCH = (
    "Minibatch relative to torch.distributed.pipelining over gloo with the same stages and "
    "micro-batches, median over steps in turns, with its 95 % interval. Below 1: faster."
)
FORMS = {
    "micro-batches": ",d",
    "stages": ",d",
    "minibatch ms": ",.4~g",
    "clock ms": ",.4~g",
    "formula ms": ",.4~g",
    "bubble": ".1%",
    "clock bubble": ".1%",
    "formula bubble": ".1%",
    "over torch": ".3~f",
}
"""Number of a tooltip -> its format."""
MODELS = {"clock": [6, 4], "formula": [1, 4]}
"""Dashes of the lines of each model."""


def figures(cases: Sequence[tuple[str, Sequence[PipelineRow]]]) -> list[Figure]:
    """Return the figures of a chapter; none without rows. cases: rows by condition."""
    points = frame(cases)
    if not len(points):
        return []
    drawn = [
        Figure("Minibatch", MINIBATCH, {"minibatch": _minibatch(points)}),
        Figure("Bubble", BUBBLE, {"bubble": _bubble(points)}),
    ]
    beside = points[points["over torch"].notna()]
    if len(beside):
        drawn.append(Figure("Beside torch", TORCH, {"torch": _beside_torch(beside)}))
    return drawn


def frame(cases: Sequence[tuple[str, Sequence[PipelineRow]]]) -> pd.DataFrame:
    """Return a point per pipeline and condition."""
    return pd.DataFrame(
        {
            "pipeline": row.schedule,
            "condition": condition,
            "micro-batches": row.microbatches,
            "stages": row.stages,
            "minibatch ms": brief(row.minibatch_ms),
            "lower ms": brief(row.minibatch_ms_lo),
            "upper ms": brief(row.minibatch_ms_hi),
            "clock ms": _known(row.clock_ms),
            "formula ms": _known(row.formula_ms),
            "bubble": brief(row.bubble),
            "clock bubble": _known(row.clock_bubble),
            "formula bubble": _known(row.formula_bubble),
            "over torch": _known(row.over_theirs),
            "lower": _known(row.over_theirs_lo),
            "upper": _known(row.over_theirs_hi),
        }
        for condition, rows in cases
        for row in rows
    )


def _known(value: float) -> float | None:
    return brief(value) if math.isfinite(value) else None


def _minibatch(points: pd.DataFrame) -> look.Chart:
    """Return the measured minibatch with its intervals, and those of the models."""
    base, marks = _base(points)
    interval = base.mark_rule(strokeWidth=1.5).encode(y="lower ms:Q", y2="upper ms")
    y = alt.Y("minibatch ms:Q", title="minibatch (ms)", scale=alt.Scale(zero=True))
    return _panels(points, base, marks, y, [*_models(base, "ms", "minibatch (ms)"), interval])


def _bubble(points: pd.DataFrame) -> look.Chart:
    """Return the measured bubble, and those of the models."""
    base, marks = _base(points)
    y = alt.Y("bubble:Q", title="bubble", axis=alt.Axis(format="%", tickCount=6))
    return _panels(points, base, marks, y, _models(base, "bubble", "bubble"))


def _beside_torch(points: pd.DataFrame) -> look.Chart:
    """Return the quotients with their intervals, and a line at 1."""
    base, marks = _base(points)
    y = alt.Y("over torch:Q", title="minibatch over torch's", scale=alt.Scale(zero=False))
    one = alt.Chart().mark_rule(color="currentColor", opacity=0.5, strokeDash=[4, 4])
    interval = base.mark_rule(strokeWidth=1.5).encode(y="lower:Q", y2="upper")
    return _panels(points, base, marks, y, [one.encode(y=alt.datum(1.0)), interval])


def _base(points: pd.DataFrame) -> tuple[alt.Chart, alt.Chart]:
    """Return a chart over the logarithm of the number of micro-batches, and its points."""
    encoding = look.many("pipeline:N", list(dict.fromkeys(points["pipeline"])))
    counts = sorted(set(points["micro-batches"]))
    scale = alt.Scale(type="log", base=2, nice=False, padding=16)
    axis = alt.Axis(values=counts, format=",d", labelOverlap=True)
    x = alt.X("micro-batches:Q", title="micro-batches", scale=scale, axis=axis)
    tooltip = [alt.Tooltip("pipeline:N")]
    tooltip += [alt.Tooltip(f"{name}:Q", format=form) for name, form in FORMS.items()]
    base = alt.Chart().encode(x=x, color=encoding["color"], detail="stages:N")
    marks = base.mark_point(filled=True, size=60)
    return base, marks.encode(shape=encoding["shape"], tooltip=tooltip)


def _models(base: alt.Chart, name: str, title: str) -> list[alt.Chart]:
    """Return a thin line for each model."""
    return [
        base.mark_line(strokeWidth=1.2, strokeDash=dash).encode(
            y=alt.Y(f"{model} {name}:Q", title=title)
        )
        for model, dash in MODELS.items()
    ]


def _panels(
    points: pd.DataFrame, base: alt.Chart, marks: alt.Chart, y: alt.Y, below: Sequence[alt.Chart]
) -> look.Chart:
    """Return a line of measurements per pipeline over other layers, one panel per condition."""
    line = base.mark_line(strokeWidth=1.8).encode(y=y)
    return look.panels(alt.layer(*below, line, marks.encode(y=y)), points, 320)
