"""The ratios of all cases as a chart: a mark a case, its interval, a line at 1."""

from __future__ import annotations

import math

import altair as alt
import pandas as pd

from bench.compare.compared import Compared
from bench.compare.table import text_table
from bench.reporting import look

COLOURS = {"worse": "#D55E00", "better": "#009E73", "neither": look.GREY}


def frame(compared: Compared) -> pd.DataFrame:
    """A row a case with a finite ratio; no interval where there are too few launches for one."""
    texts = text_table(compared)
    rows = []
    for cells, found, verdict in zip(texts.rows, compared.effects, compared.verdicts, strict=True):
        if not 0 < found.ratio < math.inf:
            continue
        ends = math.isfinite(found.finds)
        shown = "worse" if verdict.worse else "better" if verdict.better else "neither"
        numbers = {"ratio": found.ratio}
        numbers |= {"low": found.low, "high": found.high} if ends else {}
        rows.append({**dict(zip(texts.header, cells, strict=True)), "shown": shown, **numbers})
    return pd.DataFrame(rows, columns=[*texts.header, "shown", "ratio", "low", "high"])


def forest(rows: pd.DataFrame) -> look.Chart:
    """The chart of a frame, not empty."""
    ends = pd.concat([rows["ratio"], rows["low"], rows["high"]]).dropna().astype(float)
    widest = 1.005 * max(1.02, ends.max(), 1 / ends.min())
    scale = alt.Scale(type="log", domain=[1 / widest, widest], nice=False)
    x = alt.X("ratio:Q", title="B/A", scale=scale, axis=look.few_ticks())
    y = alt.Y(
        "case:N", title=None, sort=list(rows["case"]), axis=alt.Axis(ticks=False, domain=False)
    )
    names = [name for name in COLOURS if name in set(rows["shown"])]
    colour = alt.Color(
        "shown:N",
        scale=alt.Scale(domain=names, range=[COLOURS[name] for name in names]),
        legend=alt.Legend(title=None),
    )
    tips = [alt.Tooltip(f"{name}:N") for name in ("case", "verdict", "n", "A", "B", "p", "finds")]
    tips.append(alt.Tooltip("B/A:N", title="ratio"))
    base = alt.Chart(rows).encode(y=y, color=colour, tooltip=tips)
    none = alt.Chart(pd.DataFrame({"ratio": [1.0]})).mark_rule(
        strokeDash=[4, 3], color="currentColor"
    )
    lines = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", scale=scale), x2="high:Q")
    marks = base.mark_point(size=70, filled=True, opacity=1).encode(x=x)
    made: look.Chart = alt.layer(none.encode(x=x), lines, marks).properties(
        width=look.WIDTH - 300, height=alt.Step(26)
    )
    return made
