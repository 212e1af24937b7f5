"""Charts of runs with a controller: choices, posteriors of the arms, and regret."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from bench.reporting import look
from bench.reporting.chapter import Figure
from bench.reporting.look import brief
from bench.reporting.training.controlled import Controlled, cases, choices, regret
from bench.reporting.training.metrics import thinned
from bench.reporting.training.sections import Section

CHOICES = (
    "Choices of the controller: one bar per segment, or several with the same choice; a line per "
    "seed."
)
POSTERIOR = (
    "Posterior mean of the value of each arm before each decision, as the controller computes it "
    "(of the first seed); band: one standard deviation to each side."
)
REGRET = (
    "Time by which the best fixed arm in hindsight reached the same best metric so far earlier; "
    "below zero the controller was earlier. A line per seed."
)
MOST_BARS, MOST_POINTS = 400, 120
"""Maximum number of bars of a run and of decisions on a posterior line."""


def figures(section: Section) -> list[Figure]:
    """Return the figures of the runs with a controller; none without such runs."""
    some = list(cases(section))
    if not some:
        return []
    bars, posterior = _choices(some), _posterior(some)
    charts = {f"decisions-{x}": _bars(bars, x) for x in ("steps", "seconds")}
    result = [Figure("Choices of the controllers", CHOICES, charts, ["steps", "seconds"])]
    if len(posterior):
        chart = {"posterior": _bands(posterior)}
        result.append(Figure("Posterior of the arms", POSTERIOR, chart))
    lost = _regret(some)
    if len(lost):
        title = "Regret against the best fixed arm in hindsight"
        result.append(Figure(title, REGRET, {"regret": _lines(lost)}))
    return result


def _labels(case: Controlled, i: int) -> dict[str, Any]:
    condition = f"{case.name}, {case.condition}" if case.condition else case.name
    columns = {"algorithm": case.name, "condition": condition, "run": case.places[i]}
    return columns | {"seed": f"seed {case.runs[i].row.seed}"}


def _choices(some: list[Controlled]) -> pd.DataFrame:
    """Return a row per choice: consecutive segments with one choice are one row."""
    rows = []
    for case in some:
        for i, run in enumerate(case.runs):
            assert run.decided
            names = choices(run)
            starts = [j for j, x in enumerate(names) if not j or x != names[j - 1]]
            ends = np.append(starts[1:], len(names)).astype(int)
            steps = np.append(0, np.cumsum(run.decided.columns["steps"]))
            seconds = np.append(0, np.cumsum(run.decided.columns["seconds"]))
            for j in thinned(np.arange(len(starts)), MOST_BARS):
                a, b = starts[j], ends[j]
                span = {"steps": int(steps[a]), "steps_end": int(steps[b])}
                times = {"seconds": brief(seconds[a]), "seconds_end": brief(seconds[b])}
                rows.append(_labels(case, i) | {"choice": names[a]} | span | times)
    return pd.DataFrame(rows)


def _posterior(some: list[Controlled]) -> pd.DataFrame:
    """Return a row per arm and decision of the first seed of each case with posteriors."""
    rows = []
    for case in some:
        table = case.runs[0].decided
        assert table
        for j in thinned(np.arange(len(table.mean)), MOST_POINTS):
            for arm, mean, deviation in zip(
                table.arms, table.mean[j], table.deviation[j], strict=True
            ):
                if np.isfinite(mean) and np.isfinite(deviation):
                    ends = {"low": brief(mean - deviation), "high": brief(mean + deviation)}
                    columns = _labels(case, 0) | {"arm": arm, "value": brief(mean)} | ends
                    rows.append(columns | {"steps": int(table.columns["first"][j])})
    return pd.DataFrame(rows)


def _regret(some: list[Controlled]) -> pd.DataFrame:
    rows = []
    for case in some:
        for i, best in _best_runs(case):
            times, lost = regret(case.runs[i], best)
            for j in thinned(np.arange(len(times)), MOST_POINTS):
                values = {"seconds": brief(times[j]), "regret": brief(lost[j])}
                rows.append(_labels(case, i) | values)
    return pd.DataFrame(rows)


def _best_runs(case: Controlled) -> Iterator[tuple[int, Any]]:
    """Yield the index of each run and the run of the best fixed arm with its seed."""
    ranked = case.ranked()
    by_seed = {run.row.seed: run for run in case.fixed[ranked[0]]} if ranked else {}
    for i, run in enumerate(case.runs):
        if run.row.seed in by_seed:
            yield i, by_seed[run.row.seed]


def _time(name: str) -> alt.X:
    title = {"steps": "steps taken", "seconds": "training time (s), evaluations left out"}[name]
    return alt.X(f"{name}:Q", title=title, axis=alt.Axis(labelExpr=look.PLAIN, tickCount=6))


def _bars(frame: pd.DataFrame, x: str) -> look.Chart:
    order = sorted(set(frame["choice"]), key=_numbers)
    chart = (
        alt.Chart()
        .mark_bar(height={"band": 0.9}, strokeWidth=0)
        .encode(
            x=_time(x),
            x2=f"{x}_end:Q",
            y=alt.Y("choice:N", title=None, sort=order, scale=alt.Scale(domain=order)),
            yOffset=alt.YOffset("seed:N"),
            color=look.colour_of(frame, False),
            tooltip=[
                *(alt.Tooltip(f"{name}:N") for name in ("algorithm", "seed", "choice")),
                *(
                    alt.Tooltip(f"{name}:Q", title=name, format=",.4~g")
                    for name in ("steps", "steps_end")
                ),
                *(
                    alt.Tooltip(f"{name}:Q", title=name.replace("_", " "), format=",.4~s")
                    for name in ("seconds", "seconds_end")
                ),
            ],
        )
    )
    return look.panels(chart, frame, max(120, 34 * len(order)))


def _numbers(name: str) -> tuple[float, str]:
    """Return a sort key: by the number behind the last equals sign, else by name."""
    try:
        return float(name.rpartition("=")[2]), name
    except ValueError:
        return float("inf"), name


def _bands(frame: pd.DataFrame) -> look.Chart:
    encoding = look.many("arm:N", list(dict.fromkeys(frame["arm"])))
    base = alt.Chart().encode(x=_time("steps"), color=encoding["color"], detail="arm:N")
    axis = alt.Axis(format=".3~g")
    value = alt.Y("value:Q", title="value of an arm", axis=axis, scale=alt.Scale(zero=False))
    tips = [alt.Tooltip("arm:N"), alt.Tooltip("steps:Q", format=",d")]
    tips += [alt.Tooltip(f"{x}:Q", format=".4~g") for x in ("value", "low", "high")]
    area = base.mark_area(opacity=0.14, strokeWidth=0).encode(y=alt.Y("low:Q"), y2="high:Q")
    line = base.mark_line(strokeWidth=1.6).encode(
        y=value, strokeDash=encoding["strokeDash"], tooltip=tips
    )
    chart = look.panels(alt.layer(area, line), frame, 260)
    return chart.resolve_scale(y="independent") if isinstance(chart, alt.FacetChart) else chart


def _lines(frame: pd.DataFrame) -> look.Chart:
    base = alt.Chart()
    zero = base.mark_rule(color="currentColor", opacity=0.4).encode(y=alt.datum(0))
    line = base.mark_line(strokeWidth=1.6, opacity=0.85).encode(
        x=_time("seconds"),
        y=alt.Y(
            "regret:Q",
            title="seconds behind the best fixed arm",
            axis=alt.Axis(labelExpr=look.PLAIN),
        ),
        color=look.colour_of(frame, False),
        detail="run:N",
        tooltip=[
            alt.Tooltip("algorithm:N"),
            alt.Tooltip("seed:N"),
            alt.Tooltip("seconds:Q", format=",.4~s"),
            alt.Tooltip("regret:Q", title="regret (s)", format=".3~g"),
        ],
    )
    return look.panels(alt.layer(zero, line), frame, 240)
