"""Charts of step times: by phase, by rank, their spread and their drift."""

from __future__ import annotations

import math
from itertools import pairwise

import altair as alt
import numpy as np
import pandas as pd

from algorithms.wire.meter import BUBBLE, COPY, WAIT
from bench.reporting import look
from bench.reporting.chapter import Figure
from bench.reporting.look import Mark, brief, frame_of, labels
from bench.reporting.training.metrics import MARKS
from bench.reporting.training.runs import Digest
from bench.reporting.training.sections import Section, median_run

BARS = 64
"""Maximum number of bars; with more ranks, neighbours share one."""
LATE = 1.1
"""Compute time of a straggler relative to the median rank."""
KINDS = ("compute", "exchange")
COLUMNS = ("case", "rank", "order", "host", "kind", "layer", "ms", "late", "top", "begins")
"""Columns of the time by rank."""
STEP_COLUMNS = ("step", "lo", "hi", "p50", "p05", "p95")
"""Columns of the time of a step: with the ends of its interval, and median and percentiles."""
HOSTS = 8
"""Maximum number of host names below an axis."""
PHASES = (
    "Median run of each case: time in each phase, mean over ranks, divided by the steps. Copy and "
    "wait are the exchange. The bars add up to the time of a step where no rank is slower than "
    "the others."
)
STEPS = (
    "Median run of each case. Dot: elapsed time over steps. Thick line: its 95 % interval by batch "
    "means. Tick: median step. Thin line: middle 90 % of the timed steps. The median is far below "
    "the elapsed time over steps where workers exchange in some steps only."
)
RANKS = (
    "Median run of each case: mean milliseconds per step in which each rank computes (data, "
    "gradient, update, other) and exchanges (copy, wait). A straggler computes longest while the "
    "others wait; an excess of 10 % or more over the median rank is printed above its bar. "
    "Every panel has its own scale."
)
DRIFT = (
    "Median run of each case, divided into up to 60 parts: median step of each part, on its "
    "slowest rank. A level line indicates constant machine speed."
)
HEIGHT = 150
"""Height of a panel, px."""
COLOURS = (look.PHASES[1], look.PHASES[4])


def frame(section: Section) -> pd.DataFrame:
    """Return mean ms of compute and exchange by rank, for the median run of each complete case.

    Cases beyond MARKS rows are left out. Above BARS ranks a row stands for several neighbours and
    has the times of the one that computes longest. `late` is the excess of a straggler over the
    median compute time, `begins` the host that begins at a rank; both are empty otherwise.
    """
    rows: list[Mark] = []
    for number, case in section.complete():
        run = median_run(case)
        if len(run.rank_ms) > 1 and np.isfinite(run.rank_ms).all():
            columns = labels(section, run) | {"case": number}
            rows += [columns | x for x in _ranks(run)]
        if len(rows) >= MARKS:
            break
    result = frame_of(rows, COLUMNS)
    result["panel"] = result["algorithm"].str.cat(result["condition"].astype(str), sep=", ")
    return result


def _ranks(run: Digest) -> list[Mark]:
    exchange = run.rank_ms[:, [COPY, WAIT]].sum(1) + run.rank_ms[:, BUBBLE:].sum(1)
    compute = run.rank_ms.sum(1) - exchange
    middle = float(np.median(compute))
    edges = np.linspace(0, len(compute), min(len(compute), BARS) + 1).round().astype(int)
    rows: list[Mark] = []
    moves = sum(a != b for a, b in pairwise(run.rank_hosts))
    host_before = ""
    for first, end in pairwise(edges.tolist()):
        rank = first + int(compute[first:end].argmax())
        host = run.rank_hosts[rank] if rank < len(run.rank_hosts) else ""
        name = f"{first}" if end == first + 1 else f"{first}-{end - 1}"
        new_host = host if 0 < moves < HOSTS and host != host_before else ""
        host_before = host
        excess = float(compute[rank]) / middle - 1 if middle > 0 else 0.0
        columns = {"rank": name, "order": first, "host": host}
        spent = (float(compute[rank]), float(exchange[rank]))
        for i, (kind, ms) in enumerate(zip(KINDS, spent, strict=True)):
            mark = f"+{excess:.0%}" if excess >= LATE - 1 and i == 0 else ""
            top = brief(sum(spent)) if mark else 0.0
            values = {"kind": kind, "layer": i, "ms": brief(ms), "late": mark, "top": top}
            rows.append(columns | values | {"begins": new_host if i == 0 else ""})
    return rows


def by_rank(frame: pd.DataFrame) -> look.Chart:
    """Chart a bar per rank, compute below exchange; a panel per case, each on its own scale."""
    colour = alt.Color(
        "kind:N",
        scale=alt.Scale(domain=list(KINDS), range=list(COLOURS)),
        legend=alt.Legend(title=None),
    )
    base = alt.Chart().encode(
        x=alt.X(
            "rank:N",
            title="rank",
            sort=alt.EncodingSortField("order", op="min"),
            axis=alt.Axis(
                labelAngle=0,
                labelOverlap=True,
                ticks=False,
                titlePadding=22 if (frame["begins"] != "").any() else 4,
            ),
        ),
        tooltip=[
            *look.tooltips(),
            *(alt.Tooltip(f"{name}:N") for name in ("rank", "host", "kind")),
            alt.Tooltip("ms:Q", title="mean ms per step", format=".3g"),
        ],
    )
    bars = base.mark_bar().encode(
        y=alt.Y(
            "ms:Q",
            title="ms per step",
            stack=True,
            axis=alt.Axis(labelExpr=look.PLAIN, tickCount=4, minExtent=30),
        ),
        color=colour,
        order=alt.Order("layer:Q"),
    )
    late = base.mark_text(dy=-8, fontSize=11, color="currentColor").encode(y="top:Q", text="late:N")
    host = base.mark_text(align="left", dx=-6, fontSize=11, color="currentColor", opacity=0.7)
    host = host.encode(y=alt.value(HEIGHT + 27), text="begins:N")
    panels = frame.assign(condition=frame["panel"])
    chart = look.panels(alt.layer(bars, late, host), panels, HEIGHT)
    if isinstance(chart, alt.LayerChart):
        return chart
    several: look.Chart = chart.resolve_scale(x="independent", y="independent")
    return several


def drift_frame(section: Section) -> pd.DataFrame:
    """Return the median step in ms of each part of the median run of every complete case."""
    rows: list[Mark] = []
    for number, case in section.complete():
        run = median_run(case)
        columns = labels(section, run) | {"case": number}
        if len(run.drift) > 1:
            rows += [columns | {"step": int(step), "ms": brief(ms)} for step, ms in run.drift]
        if len(rows) >= MARKS:
            break
    return frame_of(rows, ["case", "step", "ms"])


def drift(frame: pd.DataFrame) -> look.Chart:
    """Chart the step on its slowest rank over the run: a line per case, a panel per condition."""
    y = alt.Y("ms:Q", title="step on its slowest rank (ms)", scale=_scale(frame["ms"]))
    chart = (
        alt.Chart()
        .mark_line(strokeWidth=1.4, opacity=0.9)
        .encode(
            x=alt.X("step:Q", title="timed steps", axis=alt.Axis(format=",d", tickCount=6)),
            y=y,
            color=look.colour_of(frame, True),
            detail="case:N",
            tooltip=[
                *look.tooltips(),
                alt.Tooltip("step:Q", title="timed steps up to", format=",d"),
                alt.Tooltip("ms:Q", title="median step (ms)", format=".4g"),
            ],
        )
    )
    dash = look.dash_of(frame)
    return look.panels(chart if dash is None else chart.encode(strokeDash=dash), frame, 200)


def _scale(values: pd.Series[float]) -> alt.Scale:
    wide = values.min() > 0 and values.max() > look.LOG_RATIO * values.min()
    return look.logarithmic() if wide else alt.Scale(zero=True)


def left_out(section: Section, drawn: pd.DataFrame) -> str:
    """Return a sentence for the caption if not all complete cases are drawn; else empty."""
    cases, shown = len(list(section.complete())), drawn["case"].nunique()
    few = len(drawn) >= MARKS and shown < cases
    return f" The first {shown:,} of {cases:,} cases." if few else ""


def phase_rows(section: Section) -> pd.DataFrame:
    """Return a row per phase of the median run of every complete case: ms per step."""
    rows: list[Mark] = []
    for number, case in section.complete():
        run = median_run(case)
        total = sum(run.phase_ms.values())
        rows += [
            labels(section, run)
            | {"case": number, "phase": name, "order": i}
            | {"ms": brief(ms), "share": brief(ms / total)}
            for i, (name, ms) in enumerate(run.phase_ms.items())
            if math.isfinite(ms) and total > 0
        ]
    return frame_of(rows, ["case", "phase", "order", "ms", "share"])


def step_rows(section: Section) -> pd.DataFrame:
    """Return step, interval and percentiles in ms of the median run of every complete case."""
    rows: list[Mark] = []
    for number, case in section.complete():
        run = median_run(case)
        row, (p05, p95) = run.row, run.spread_ms
        numbers = (row.step_ms, row.step_ms_ci_lo, row.step_ms_ci_hi, row.step_ms_p50, p05, p95)
        values = dict(zip(STEP_COLUMNS, map(brief, numbers), strict=True)) | {"n": run.timed}
        if math.isfinite(row.step_ms):
            rows.append(labels(section, run) | {"case": number} | values)
    return frame_of(rows, ["case", *STEP_COLUMNS, "n"])


def phases(frame: pd.DataFrame) -> look.Chart:
    """Chart the time of a step of every case, divided into its phases."""
    names = list(dict.fromkeys(frame["phase"]))
    colour = alt.Color(
        "phase:N",
        scale=alt.Scale(domain=names, range=list(look.PHASES[: len(names)])),
        legend=alt.Legend(title=None, columns=len(names)),
    )
    bars = alt.Chart().mark_bar(height={"band": 0.72})
    chart = bars.encode(
        x=alt.X("ms:Q", title="time of a step (ms), mean over ranks", axis=look.few_ticks()),
        y=look.algorithms(),
        color=colour,
        order="order:Q",
        tooltip=[
            *look.tooltips(),
            "phase:N",
            alt.Tooltip("ms:Q", title="ms of the step", format=".3g"),
            alt.Tooltip("share:Q", title="share", format=".1%"),
        ],
    )
    return look.rows(chart, frame)


def steps(frame: pd.DataFrame) -> look.Chart:
    """Chart the time of a step of every case, its interval, and the median and spread of steps."""
    columns = (*STEP_COLUMNS, "n")
    titles = ["elapsed over steps (ms)", "95 % interval from", "to", "median step (ms)"]
    titles += ["5th percentile", "95th percentile", "timed steps"]
    tips = [
        alt.Tooltip(f"{x}:Q", title=title, format=".4g")
        for x, title in zip(columns, titles, strict=True)
    ]
    base = alt.Chart().encode(
        y=look.algorithms(),
        color=look.colour_of(frame, False),
        tooltip=[*look.tooltips(), *tips],
    )
    title = "step on its slowest rank (ms)"
    x = alt.X("p05:Q", title=title, scale=alt.Scale(zero=True), axis=look.few_ticks())
    layers = (
        base.mark_rule(opacity=0.45).encode(x=x, x2="p95:Q"),
        base.mark_rule(strokeWidth=4, opacity=0.75).encode(x="lo:Q", x2="hi:Q"),
        base.mark_tick(thickness=2, size=12, opacity=1).encode(x="p50:Q"),
        base.mark_point(filled=True, size=45, opacity=1).encode(x="step:Q"),
    )
    return look.rows(alt.layer(*layers), frame)


def figures(section: Section) -> list[Figure]:
    """Return the figures of step times: by phase, by rank, their spread and their drift."""
    by_phase, ranks = phase_rows(section), frame(section)
    spread, parts = step_rows(section), drift_frame(section)
    result = []
    if len(by_phase):
        chart = phases(by_phase)
        result.append(Figure("Time of a step by phase", PHASES, {"phases": chart}))
    if len(ranks):
        caption = RANKS + left_out(section, ranks)
        title = "Time by rank: compute and exchange"
        result.append(Figure(title, caption, {"ranks": by_rank(ranks)}))
    if len(spread):
        title = "Time of a step and its variation"
        result.append(Figure(title, STEPS, {"steps": steps(spread)}))
    if len(parts):
        caption = DRIFT + left_out(section, parts)
        result.append(Figure("Drift of the step time", caption, {"drift": drift(parts)}))
    return result
