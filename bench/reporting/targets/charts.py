"""Charts of the cost of a target: per run, and as samples against seconds per sample."""

from __future__ import annotations

import math

import altair as alt
import pandas as pd

from bench.reporting import look
from bench.reporting.chapter import Figure
from bench.reporting.look import brief, frame_of, labels
from bench.reporting.targets.cases import groups
from bench.reporting.training.sections import Section

X = {
    "time_to_target_s": ("seconds", "training time to target (s)"),
    "samples_to_target": ("samples", "samples to target"),
    "bytes_to_target": ("bytes", "bytes moved to target (B)"),
}
"""Column -> the name and the axis title of a cost."""
COLUMNS = ["run", "file", "name", "target", *X, "s_per_sample"]
COLUMNS += [f"{x}_median" for x in (*X, "s_per_sample")]
BEYOND = 1.12
"""Position of missed runs relative to the largest cost, cubed on a log axis."""
ROOM = 1.3
"""Margin around the marks of efficiencies, as a factor."""
CROSS = "M-.7,-.7L.7,.7M.7,-.7L-.7,.7"
"""SVG path of a cross."""
PAID = (
    "Dot: a run. Bar: the median over seeds. Runs that missed the target are crosses at the right "
    "edge and count as infinite; if half of the runs missed, the median is infinite as well."
)
APART = (
    "Small mark: a run that reached the target. Large mark: finite medians over all seeds. Left is "
    "better for the algorithm (statistical efficiency), down is better for the machine (system "
    "efficiency); the time to target is constant on a dashed line."
)


def frame(section: Section) -> pd.DataFrame:
    """Return a row per run with a target: its costs, infinite if it missed.

    `_median` columns hold the medians over the seeds of its case, `name`.
    """
    run_of = {id(run): number for number, run in enumerate(section.runs)}
    rows = []
    for group in groups(section):
        for case in group.cases:
            middle = {f"{x}_median": brief(case.interval(x)[0]) for x in (*X, "s_per_sample")}
            for run in case.runs:
                paid = {x: brief(run.row.number(x)) for x in (*X, "s_per_sample")}
                target = "reached" if math.isfinite(run.row.time_to_target_s) else "missed"
                columns = {"condition": group.heading, "name": case.name, "target": target}
                where = {"run": run_of[id(run)], "file": run.row.file}
                rows.append(labels(section, run) | columns | where | paid | middle)
    return frame_of(rows, COLUMNS)


def figures(section: Section) -> list[Figure]:
    """Return two figures if a run reached a target, else none."""
    rows = frame(section)
    if not (rows["target"] == "reached").any():
        return []
    shown = [x for x in X if _reached(rows, x).max() > 0]  # a single worker moves no bytes
    costs = {f"target-{X[x][0]}": cost(rows, x) for x in shown}
    return [
        Figure("What the target costs", PAID, costs, [X[x][0] for x in shown]),
        Figure(
            "Time to target: samples times time per sample",
            APART,
            {"target-efficiencies": efficiencies(rows)},
        ),
    ]


def cost(frame: pd.DataFrame, x: str) -> look.Chart:
    """Chart the cost x, one of X, of every run: a row per case, a panel per condition."""
    paid = _reached(frame, x)
    last, first = paid.max(), paid.min()
    far = first > 0 and last > look.LOG_RATIO * first
    edge = last * (BEYOND**3 if far else BEYOND)
    placed = {"at": frame[x].clip(upper=edge), "middle": frame[f"{x}_median"].clip(upper=edge)}
    scale = look.logarithmic() if far else alt.Scale(domain=[0, 1.03 * edge])
    ticks = look.decades(paid) if far else _ticks(last)
    missed = (frame["target"] == "missed").any()
    axis = alt.Axis(
        labelExpr=f"datum.value > {last} ? 'missed' : {look.PLAIN}",
        values=[*ticks, edge] if missed else ticks,
        labelOverlap="greedy",
    )
    at = alt.X("at:Q", title=X[x][1], scale=scale, axis=axis)
    shape = alt.Shape(
        "target:N",
        scale=alt.Scale(domain=["reached", "missed"], range=["circle", CROSS]),
        legend=alt.Legend(title=None) if missed else None,
    )
    base = alt.Chart().encode(
        y=alt.Y("name:N", title=None, axis=alt.Axis(ticks=False, domain=False)),
        color=look.colour_of(frame, False),
        tooltip=[*look.tooltips(), "target:N", *_tips()],
    )
    dots = base.mark_point(size=70, strokeWidth=1.8, opacity=0.85).encode(x=at, shape=shape)
    bars = base.mark_tick(thickness=3, bandSize=20).encode(x="middle:Q")
    return look.rows(alt.layer(bars, dots), frame.assign(**placed))


def efficiencies(frame: pd.DataFrame) -> look.Chart:
    """Chart seconds per sample against samples to target, both logarithmic."""
    shown = frame[frame["target"] == "reached"]
    shown = shown.assign(
        us=1e6 * shown["s_per_sample"], us_median=1e6 * shown["s_per_sample_median"]
    )
    names = sorted(set(frame["name"]))
    encoding = {key: x for key, x in look.many("name:N", names).items() if key != "strokeDash"}
    ends = _range(shown, "samples_to_target"), _range(shown, "us")
    across, up = (alt.Scale(type="log", nice=False, domain=list(x)) for x in ends)
    axis = alt.Axis(labelExpr=look.PLAIN, tickCount=8, labelOverlap="greedy", labelSeparation=8)
    x = alt.X("samples_to_target:Q", title="samples to target", scale=across, axis=axis)
    y = alt.Y("us:Q", title="time per sample (us)", scale=up, axis=axis)
    base = alt.Chart().encode(x=x, y=y, tooltip=[*look.tooltips(), *_tips()], **encoding)
    runs = base.mark_point(size=45, opacity=0.5, strokeWidth=1.2)
    medians = base.mark_point(size=150, opacity=1, strokeWidth=2, filled=True)
    medians = medians.encode(x="samples_to_target_median:Q", y="us_median:Q")
    return look.panels(alt.layer(*_equal_times(*ends), runs, medians), shown, 320)


def _equal_times(across: tuple[float, float], up: tuple[float, float]) -> list[alt.Chart]:
    """Return labelled lines on which samples times seconds per sample is a round time.

    across, up: ends of the axes, in samples and us.
    """
    lines = []
    for seconds in look.decades(pd.Series([a * b / 1e6 for a, b in zip(across, up, strict=True)])):
        ends = (max(across[0], 1e6 * seconds / up[1]), min(across[1], 1e6 * seconds / up[0]))
        lines += [
            {"seconds": seconds, "x": x, "us": 1e6 * seconds / x, "top": x == ends[0]} for x in ends
        ]
    base = alt.Chart(pd.DataFrame(lines)).encode(x="x:Q", y="us:Q")
    rules = base.mark_line(strokeDash=[3, 3], strokeWidth=1, opacity=0.6, color="currentColor")
    names = base.mark_text(align="left", dx=5, dy=8, fontSize=11, opacity=0.8, color="currentColor")
    named = names.encode(text=alt.Text("label:N")).transform_filter("datum.top")
    return [
        rules.encode(detail="seconds:N"),
        named.transform_calculate(label="datum.seconds + ' s'"),
    ]


def _ticks(last: float) -> list[float]:
    """Return about six round numbers from 0 to the last mark."""
    power = 10.0 ** math.floor(math.log10(last / 6))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= last / 6)
    return [i * step for i in range(math.floor(last / step) + 1)]


def _reached(frame: pd.DataFrame, x: str) -> pd.Series[float]:
    return frame.loc[frame["target"] == "reached", x]


def _range(shown: pd.DataFrame, x: str) -> tuple[float, float]:
    return float(shown[x].min()) / ROOM, float(shown[x].max()) * ROOM


def _tips() -> list[alt.Tooltip]:
    titles = {name: text for name, (_, text) in X.items()} | {"s_per_sample": "seconds per sample"}
    return [alt.Tooltip(f"{x}:Q", title=text, format=".4~g") for x, text in titles.items()]
