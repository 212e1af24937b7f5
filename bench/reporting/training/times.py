"""Time by rank: who computes, who waits for whom, and whether that drifts."""

from __future__ import annotations

import math
from itertools import pairwise

import altair as alt
import numpy as np
import pandas as pd

from algorithms.wire.meter import COPY, WAIT
from bench.reporting import look
from bench.reporting.chapter import Figure
from bench.reporting.look import Mark, brief, frame_of, labels
from bench.reporting.training.metrics import MARKS
from bench.reporting.training.runs import Digest, Section, median_run

BARS = 64
"""Ranks with a bar each; of more, neighbours share one."""
LATE = 1.1
"""A rank that computes longer than the median of the ranks by this factor is a straggler."""
KINDS = ("compute", "exchange")
COLUMNS = ("case", "rank", "order", "host", "kind", "layer", "ms", "late", "top", "begins")
"""Of the time by rank."""
HOSTS = 8
"""More names of hosts do not fit below an axis."""
PHASES = (
    "The median step of the complete run in the middle of each case, divided in the proportion "
    "of the phases over all timed steps and ranks. Copy and wait are the exchange."
)
STEPS = (
    "The complete run in the middle of each case. Dot: its median step. Thick: the 95 % "
    "interval of the median. Thin: the middle 90 % of its timed steps."
)
RANKS = (
    "The complete run in the middle of each case: mean milliseconds a step that each rank "
    "computes (data, gradient, update, other) and exchanges (copy, wait). A straggler computes "
    "longest while the others wait; where that is 10 % or more above the ranks' median, it stands "
    "over its bar. Every panel has its own scale."
)
DRIFT = (
    "The complete run in the middle of each case, in up to 60 parts: the median step of each, on "
    "its slowest rank. A level line is a steady machine."
)
HEIGHT = 150
"""px of a panel."""
COLOURS = (look.PHASES[1], look.PHASES[4])


def frame(section: Section) -> pd.DataFrame:
    """Two rows a rank of the median run of every complete case: mean ms of compute and exchange.

    Cases beyond MARKS rows are left out. Above BARS ranks a row stands for neighbours: for the one
    of them that computes longest. `late` says by how much a straggler is above the ranks' median
    compute, `begins` names the host that begins at a rank; both are empty of others.
    """
    rows: list[Mark] = []
    for number, case in section.complete():
        run = median_run(case)
        if len(run.rank_ms) > 1 and np.isfinite(run.rank_ms).all():
            said = labels(section, run) | {"case": number}
            rows += [said | x for x in _ranks(run)]
        if len(rows) >= MARKS:
            break
    made = frame_of(rows, COLUMNS)
    made["panel"] = made["algorithm"].str.cat(made["condition"].astype(str), sep=", ")
    return made


def _ranks(run: Digest) -> list[Mark]:
    exchange = run.rank_ms[:, [COPY, WAIT]].sum(1)
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
        begins = host if 0 < moves < HOSTS and host != host_before else ""
        host_before = host
        excess = float(compute[rank]) / middle - 1 if middle > 0 else 0.0
        said = {"rank": name, "order": first, "host": host}
        spent = (float(compute[rank]), float(exchange[rank]))
        for i, (kind, ms) in enumerate(zip(KINDS, spent, strict=True)):
            mark = f"+{excess:.0%}" if excess >= LATE - 1 and i == 0 else ""
            top = brief(sum(spent)) if mark else 0.0
            values = {"kind": kind, "layer": i, "ms": brief(ms), "late": mark, "top": top}
            rows.append(said | values | {"begins": begins if i == 0 else ""})
    return rows


def by_rank(frame: pd.DataFrame) -> look.Chart:
    """A bar a rank, compute below and exchange above it; a panel a case, each on its own scale."""
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
            alt.Tooltip("ms:Q", title="mean ms a step", format=".3g"),
        ],
    )
    bars = base.mark_bar().encode(
        y=alt.Y(
            "ms:Q",
            title="ms a step",
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
    made = look.panels(alt.layer(bars, late, host), panels, HEIGHT)
    if isinstance(made, alt.LayerChart):
        return made
    several: look.Chart = made.resolve_scale(x="independent", y="independent")
    return several


def drift_frame(section: Section) -> pd.DataFrame:
    """A part of the median run of every complete case a row: the median of its steps, ms."""
    rows: list[Mark] = []
    for number, case in section.complete():
        run = median_run(case)
        said = labels(section, run) | {"case": number}
        if len(run.drift) > 1:
            rows += [said | {"step": int(step), "ms": brief(ms)} for step, ms in run.drift]
        if len(rows) >= MARKS:
            break
    return frame_of(rows, ["case", "step", "ms"])


def drift(frame: pd.DataFrame) -> look.Chart:
    """The step on its slowest rank over the run: a line a case, a panel a condition."""
    y = alt.Y("ms:Q", title="step on its slowest rank (ms)", scale=_scale(frame["ms"]))
    made = (
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
    return look.panels(made if dash is None else made.encode(strokeDash=dash), frame, 200)


def _scale(values: pd.Series[float]) -> alt.Scale:
    wide = values.min() > 0 and values.max() > look.LOG_RATIO * values.min()
    return look.logarithmic() if wide else alt.Scale(zero=True)


def left_out(section: Section, drawn: pd.DataFrame) -> str:
    """What a caption says where not all complete cases are drawn; empty where they are."""
    cases, shown = len(list(section.complete())), drawn["case"].nunique()
    few = len(drawn) >= MARKS and shown < cases
    return f" The first {shown:,} of {cases:,} cases." if few else ""


def phase_rows(section: Section) -> pd.DataFrame:
    """A phase a row, of the median run of every complete case: ms of the median step."""
    rows: list[Mark] = []
    for number, case in section.complete():
        run = median_run(case)
        total = run.row.step_ms_p50
        rows += [
            labels(section, run)
            | {"case": number, "phase": name, "order": i}
            | {"ms": brief(ms), "share": brief(ms / total)}
            for i, (name, ms) in enumerate(run.phase_ms.items())
            if math.isfinite(ms) and total > 0
        ]
    return frame_of(rows, ["case", "phase", "order", "ms", "share"])


def step_rows(section: Section) -> pd.DataFrame:
    """The median run of every complete case: step, its interval, its percentiles, in ms."""
    rows: list[Mark] = []
    for number, case in section.complete():
        run = median_run(case)
        p50, lo, hi = (brief(run.row.number(f"step_ms_{x}")) for x in ("p50", "lo", "hi"))
        p05, p95 = map(brief, run.spread_ms)
        values = {"p50": p50, "lo": lo, "hi": hi, "p05": p05, "p95": p95, "n": run.timed}
        if math.isfinite(p50):
            rows.append(labels(section, run) | {"case": number} | values)
    return frame_of(rows, ["case", "p50", "lo", "hi", "p05", "p95", "n"])


def phases(frame: pd.DataFrame) -> look.Chart:
    """Median step of every case, divided into its phases."""
    names = list(dict.fromkeys(frame["phase"]))
    colour = alt.Color(
        "phase:N",
        scale=alt.Scale(domain=names, range=list(look.PHASES[: len(names)])),
        legend=alt.Legend(title=None, columns=len(names)),
    )
    bars = alt.Chart().mark_bar(height={"band": 0.72})
    made = bars.encode(
        x=alt.X("ms:Q", title="median step (ms), divided by phase", axis=look.few_ticks()),
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
    return look.rows(made, frame)


def steps(frame: pd.DataFrame) -> look.Chart:
    """Median step of every case with its 95 % interval, and the middle 90 % of its steps."""
    titles = {"p50": "median (ms)", "lo": "95 % interval from", "hi": "to", "n": "timed steps"}
    titles |= {"p05": "5th percentile", "p95": "95th percentile"}
    tips = [alt.Tooltip(f"{x}:Q", title=title, format=".4g") for x, title in titles.items()]
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
        base.mark_point(filled=True, size=45, opacity=1).encode(x="p50:Q"),
    )
    return look.rows(alt.layer(*layers), frame)


def figures(section: Section) -> list[Figure]:
    """Return the figures of step times: by phase, by rank, their spread and their drift."""
    by_phase, ranks = phase_rows(section), frame(section)
    spread, parts = step_rows(section), drift_frame(section)
    made = []
    if len(by_phase):
        chart = phases(by_phase)
        made.append(Figure("Where the time of a step goes", PHASES, {"phases": chart}))
    if len(ranks):
        caption = RANKS + left_out(section, ranks)
        title = "Time by rank: who computes, who waits"
        made.append(Figure(title, caption, {"ranks": by_rank(ranks)}))
    if len(spread):
        title = "How long a step takes, and how much that varies"
        made.append(Figure(title, STEPS, {"steps": steps(spread)}))
    if len(parts):
        caption = DRIFT + left_out(section, parts)
        made.append(Figure("How the step time drifts", caption, {"drift": drift(parts)}))
    return made
