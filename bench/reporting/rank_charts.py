"""Time by rank: who computes, who waits for whom, and whether that drifts."""

from __future__ import annotations

from itertools import pairwise

import altair as alt
import numpy as np
import pandas as pd

from algorithms.wire.meter import COPY, WAIT
from bench.reporting import look
from bench.reporting.cases import Section, median_run
from bench.reporting.digest import Digest
from bench.reporting.frames import MARKS, Row, about, brief, complete, framed

BARS = 64
"""Ranks with a bar each; of more, neighbours share one."""
LATE = 1.1
"""A rank that computes longer than the median of the ranks by this factor is a straggler."""
KINDS = ("compute", "exchange")
COLUMNS = ("case", "rank", "order", "host", "kind", "layer", "ms", "late", "top", "begins")
"""Of the time by rank."""
HOSTS = 8
"""More names of hosts do not fit below an axis."""
HEIGHT = 150
"""px of a panel."""
COLOURS = (look.PHASES[1], look.PHASES[4])


def frame(section: Section) -> pd.DataFrame:
    """Two rows a rank of the median run of every complete case: mean ms of compute and exchange.

    Cases beyond MARKS rows are left out. Above BARS ranks a row stands for neighbours: for the one
    of them that computes longest. `late` says by how much a straggler is above the ranks' median
    compute, `begins` names the host that begins at a rank; both are empty of others.
    """
    rows: list[Row] = []
    for number, case in complete(section):
        run = median_run(case)
        if len(run.rank_ms) > 1 and np.isfinite(run.rank_ms).all():
            said = about(section, run) | {"case": number}
            rows += [said | x for x in _ranks(run)]
        if len(rows) >= MARKS:
            break
    made = framed(rows, COLUMNS)
    made["panel"] = made["algorithm"].str.cat(made["condition"].astype(str), sep=", ")
    return made


def _ranks(run: Digest) -> list[Row]:
    exchange = run.rank_ms[:, [COPY, WAIT]].sum(1)
    compute = run.rank_ms.sum(1) - exchange
    middle = float(np.median(compute))
    edges = np.linspace(0, len(compute), min(len(compute), BARS) + 1).round().astype(int)
    rows: list[Row] = []
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
            *look.about(),
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
    rows: list[Row] = []
    for number, case in complete(section):
        run = median_run(case)
        said = about(section, run) | {"case": number}
        if len(run.drift) > 1:
            rows += [said | {"step": int(step), "ms": brief(ms)} for step, ms in run.drift]
        if len(rows) >= MARKS:
            break
    return framed(rows, ["case", "step", "ms"])


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
                *look.about(),
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
    cases, shown = len(section.complete()), drawn["case"].nunique()
    few = len(drawn) >= MARKS and shown < cases
    return f" The first {shown:,} of {cases:,} cases." if few else ""
