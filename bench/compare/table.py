"""Tables of a comparison for the terminal, Markdown and CSV, and its figure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from bench.common.text import NONE, TextTable, counted, format_bytes, format_number
from bench.compare.matching import Pair
from bench.compare.metrics import Metric, Values
from bench.compare.verdict import UNSHOWN, Comparison, Effect, Verdict, launches_to_find
from bench.reporting.training.pivots import Block, Pivot, markdown
from bench.results.schema import COMPLETE
from bench.results.statistics import median_interval

if TYPE_CHECKING:
    import pandas as pd

    from bench.reporting.look import Chart

HEADER = ("case", "verdict", "n", "A", "B", "B/A", "p", "finds")
WORDS = 2
SOUGHT = 0.05
"""Relative difference for which the conclusion states the number of launches."""


def text_table(comparison: Comparison) -> TextTable:
    """Return the table of a comparison with its conclusion at the foot."""
    tones: dict[tuple[int, int], Literal["best", "bad"]] = {}
    for i, verdict in enumerate(comparison.verdicts):
        if verdict.worse or verdict.better:
            tones[i, HEADER.index("B/A")] = "bad" if verdict.worse else "best"
    rows = [
        _cells(*one)
        for one in zip(comparison.pairs, comparison.effects, comparison.verdicts, strict=True)
    ]
    return TextTable(
        heading="",
        header=list(HEADER),
        rows=rows,
        states=[COMPLETE] * len(rows),
        words=WORDS,
        tones=tones,
        foot=[*conclusion(comparison), *comparison.notes],
    )


def _cells(pair: Pair, effect: Effect, verdict: Verdict) -> list[str]:
    finds = effect.finds
    return [
        pair.label,
        verdict.text,
        f"{effect.n} + {effect.m}",
        _median(pair.a, pair.metric),
        _median(pair.b, pair.metric),
        format_number(effect.ratio) + ("" if math.isinf(finds) else _span(effect.low, effect.high)),
        f"{verdict.p:.2g}" if verdict.p >= 1e-4 else "<0.0001",
        NONE if math.isinf(finds) else f"{100 * finds:.2g} %",
    ]


def _median(values: Values, metric: Metric) -> str:
    middle, low, high = median_interval(values)
    missed = sum(map(math.isinf, values))
    unit = f" {metric.unit}" if metric.unit not in ("", "B") and math.isfinite(middle) else ""
    if missed:
        return f"{_number(middle, metric)}{unit} [missed {missed} of {len(values)}]"
    return f"{_number(middle, metric)}{unit} [{_number(low, metric)}, {_number(high, metric)}]"


def _number(value: float, metric: Metric) -> str:
    if math.isinf(value):
        return "missed"
    return format_bytes(value) if metric.unit == "B" else format_number(value)


def _span(low: float, high: float) -> str:
    return f" [{format_number(low)}, {format_number(high)}]"


def conclusion(comparison: Comparison) -> list[str]:
    """Return the number of cases by verdict, and the launches required to decide the others."""
    cases = len(comparison.verdicts)
    counts = {
        "worse in B": sum(x.worse for x in comparison.verdicts),
        "better in B": sum(x.better for x in comparison.verdicts),
        "not shown to differ": sum(x.text == UNSHOWN for x in comparison.verdicts),
    }
    counts_text = ", ".join(f"{n} {text}" for text, n in counts.items() if n)
    lines = [f"{counted(cases, 'case')}{counts_text and ': '}{counts_text}"]
    lines += dict.fromkeys(x.few for x in comparison.verdicts if x.few)
    n_required = max(
        (
            launches_to_find(effect, SOUGHT, comparison.alpha / cases)
            for effect, verdict in zip(comparison.effects, comparison.verdicts, strict=True)
            if verdict.text == UNSHOWN and math.isfinite(effect.finds)
        ),
        default=0.0,
    )
    if n_required > min(min(effect.n, effect.m) for effect in comparison.effects):
        lines.append(
            f"with this scatter, a difference of {SOUGHT:.0%} needs about {math.ceil(n_required)} "
            "launches per side to be shown in 95 of 100 comparisons of a case"
        )
    return lines


def explanation(comparison: Comparison) -> list[str]:
    """Return the notes that explain the table."""
    metrics = {pair.metric.name: pair.metric for pair in comparison.pairs}
    level = f"{100 * (1 - comparison.alpha):g} %"
    cases = len(comparison.pairs)
    seeded = any(metric.seeded for metric in metrics.values())
    return [
        *(f"{name}: {metric.text}; one number per launch" for name, metric in metrics.items()),
        "A, B: median over launches [95 % interval; minimum and maximum below 6 launches]",
        f"B/A: median ratio of a launch of B to one of A [{level} interval of Hodges and Lehmann]",
        "p: exact test of Mann and Whitney" + (f", Holm over {cases} cases" if cases > 1 else ""),
        "finds: half of that interval: such a difference is shown in 50 of 100 comparisons, and "
        "one 1.6 times as large in 95 of 100",
        *(["n: number of seeds; launches with one seed give the same number"] if seeded else []),
    ]


def document(comparison: Comparison) -> str:
    """Return the comparison as Markdown."""
    table = text_table(comparison)
    rows: dict[str, list[list[str]]] = {
        name: [[cell] for cell in cells] for name, *cells in table.rows
    }
    block = Block(table.header[0], table.header[1:], rows)
    return markdown([Pivot(comparison.summary, [block], [*table.foot, *explanation(comparison)])])


def records(comparison: Comparison) -> list[dict[str, Any]]:
    """Return a record per case: settings, both sides, effect and verdict."""
    result = []
    for pair, effect, verdict in zip(
        comparison.pairs, comparison.effects, comparison.verdicts, strict=True
    ):
        row: dict[str, Any] = {"program": pair.metric.program, "metric": pair.metric.name}
        row |= {name.replace(" ", "_"): value for name, value in pair.settings.items()}
        for side, values in (("a", pair.a), ("b", pair.b)):
            middle, low, high = median_interval(values)
            row |= {f"n_{side}": len(values), f"median_{side}": middle}
            row |= {f"low_{side}": low, f"high_{side}": high}
        row |= {"ratio": effect.ratio, "ratio_low": effect.low, "ratio_high": effect.high}
        row |= {"p": effect.p, "p_corrected": verdict.p, "alpha": comparison.alpha}
        row |= {"verdict": verdict.text, "worse": verdict.worse, "better": verdict.better}
        row |= {"not_worse": verdict.not_worse, "decided": verdict.decided}
        result.append(row)
    return result


COLOURS = {"worse": "#D55E00", "better": "#009E73"}


def frame(comparison: Comparison) -> pd.DataFrame:
    """Return a row per case with a finite ratio, with an interval if it has enough launches."""
    import pandas as pd

    texts = text_table(comparison)
    rows = []
    for cells, effect, verdict in zip(
        texts.rows, comparison.effects, comparison.verdicts, strict=True
    ):
        if not 0 < effect.ratio < math.inf:
            continue
        has_interval = math.isfinite(effect.finds)
        direction = "worse" if verdict.worse else "better" if verdict.better else "neither"
        numbers = {"ratio": effect.ratio}
        numbers |= {"low": effect.low, "high": effect.high} if has_interval else {}
        rows.append({**dict(zip(texts.header, cells, strict=True)), "shown": direction, **numbers})
    return pd.DataFrame(rows, columns=[*texts.header, "shown", "ratio", "low", "high"])


def forest(rows: pd.DataFrame) -> Chart:
    """Return the forest plot of a non-empty frame: the ratio and interval of each case."""
    import altair as alt
    import pandas as pd

    from bench.reporting import look

    ends = pd.concat([rows["ratio"], rows["low"], rows["high"]]).dropna().astype(float)
    widest = 1.005 * max(1.02, ends.max(), 1 / ends.min())
    scale = alt.Scale(type="log", domain=[1 / widest, widest], nice=False)
    x = alt.X("ratio:Q", title="B/A", scale=scale, axis=look.few_ticks())
    y = alt.Y(
        "case:N", title=None, sort=list(rows["case"]), axis=alt.Axis(ticks=False, domain=False)
    )
    colours = COLOURS | {"neither": look.GREY}
    names = [name for name in colours if name in set(rows["shown"])]
    colour = alt.Color(
        "shown:N",
        scale=alt.Scale(domain=names, range=[colours[name] for name in names]),
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
    chart: Chart = alt.layer(none.encode(x=x), lines, marks).properties(
        width=look.WIDTH - 300, height=alt.Step(26)
    )
    return chart
