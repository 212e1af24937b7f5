"""Chart of the workers alive in runs whose workers die and return."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from bench.reporting import look
from bench.reporting.chapter import Figure
from bench.reporting.look import Mark, frame_of, labels
from bench.reporting.training.metrics import MARKS, thinned
from bench.reporting.training.runs import Digest
from bench.reporting.training.sections import Section

ALIVE = (
    "Workers alive at each step, a line per run. The participation is their mean share over the "
    "steps."
)
LEAST = 6
"""Minimum number of changes of a thinned line."""


def figures(section: Section) -> list[Figure]:
    """Return the figure of the workers alive; none if no worker of the section ever died."""
    frame = members(section)
    return [Figure("Workers alive", ALIVE, {"members": chart(frame)})] if len(frame) else []


def members(section: Section) -> pd.DataFrame:
    """Return a row per change of the workers alive and one at the end of every such run."""
    runs = [(number, run) for number, run in enumerate(section.runs) if run.alive is not None]
    most = max(LEAST, MARKS // max(1, len(runs)))
    rows: list[Mark] = []
    for number, run in runs:
        columns = labels(section, run) | {"run": number, "participation": run.row.participation}
        rows += [columns | {"step": step, "alive": alive} for step, alive in _line(run, most)]
    return frame_of(rows, ["step", "alive", "participation", "run"])


def _line(run: Digest, most: int) -> list[Any]:
    assert run.alive is not None
    last = int(run.curve["step"][-1]) if len(run.curve["step"]) else 0
    changes = run.alive[thinned(np.arange(len(run.alive)), most)].tolist()
    return [*changes, [max(last, changes[-1][0]), changes[-1][1]]]


def chart(frame: pd.DataFrame) -> look.Chart:
    """Chart the workers alive against the steps as lines of steps, a panel per condition."""
    tips = [
        *look.tooltips(),
        alt.Tooltip("step:Q", title="from step", format=",d"),
        alt.Tooltip("alive:Q", title="workers alive", format=",d"),
        alt.Tooltip("participation:Q", format=".1%"),
    ]
    axis = alt.Axis(labelExpr=look.PLAIN, tickCount=6)
    count = alt.Y(
        "alive:Q", title="workers alive", scale=alt.Scale(domainMin=0), axis=look.few_ticks()
    )
    line = (
        alt.Chart()
        .mark_line(interpolate="step-after", strokeWidth=1.4, opacity=0.85)
        .encode(
            x=alt.X("step:Q", title="steps taken", axis=axis),
            y=count,
            color=look.colour_of(frame, True),
            detail="run:N",
            tooltip=tips,
        )
    )
    return look.panels(line, frame, 200)
