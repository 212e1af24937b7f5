"""One run in large: its learning curve, and where its ranks spend their steps."""

from __future__ import annotations

from itertools import zip_longest

import numpy as np
from rich.text import Text

from bench.common.text import format_number, printable
from bench.watch.lines import GAP, Part, cut, line, pair
from bench.watch.plots import Axis, axis, bar, curve
from bench.watch.recent import Rank, Recent
from bench.watch.training import Training

EXTRA = 3
"""Lines of a panel that are not the curve's."""
LABEL = 9
"""Columns of the numbers at the axis."""
SIDE = 34
"""Columns for the ranks."""
BAR, HOST = 10, 7
MEAN, WORST, TARGET, STRAGGLER = "green", "magenta", "yellow", "bold red"


def panel(made: Training, title: str, name: str, width: int, rows: int) -> list[Text]:
    """A heading, then the curve, `rows` high, with the ranks beside it, then what is what.

    name: of the file.
    """
    heading = pair((title, "bold"), [(name, "dim")], width)
    beside = width - SIDE - len(GAP)
    lines = [Text("─" * width, "dim"), heading]
    above, legend = learning(made, beside, rows)
    for left, right in zip_longest(above, ranks(made.recent, rows), fillvalue=Text()):
        drawn = left.copy()
        drawn.pad_right(beside - left.cell_len)
        lines.append(Text.assemble(drawn, GAP, right))
    return [*lines, line(legend, width)]


def learning(made: Training, width: int, rows: int) -> tuple[list[Text], list[Part]]:
    """The curve of the mean model, under it the worst worker's and the target; and their legend."""
    metric, worst, steps = (made.curve[x] for x in ("metric", "worst", "step"))
    up = axis(np.concatenate([metric, worst, [made.target]]), made.direction)
    across = axis(steps, "max")
    if up is None or across is None or not np.isfinite(metric).any():
        return [cut("no evaluation yet", width, "dim")], []
    size, ends = (width - LABEL - 1, rows), np.array([across.low, across.high])
    curves = [(steps, metric, MEAN), (steps, worst, WORST), (ends, np.full(2, made.target), TARGET)]
    layers = [(curve(x, y, (across, up), size), style) for x, y, style in curves]
    lines = [Text(f"{_number(i, rows, up):>{LABEL}} ") for i in range(rows)]
    for i, drawn in enumerate(lines):
        for cells in zip(*(layer[i] for layer, _ in layers), strict=True):
            chosen = next((k for k, x in enumerate(cells) if x != " "), 0)
            drawn.append(cells[chosen], layers[chosen][1])
    scale = ", log scale" if up.log else ""
    legend = [
        (f"{'':{LABEL}} step {across.low:.0f} to {across.high:.0f}", "dim"),
        (f"{printable(made.metric)} of the mean model{scale}", MEAN),
        ("worst worker", WORST),
        (f"target {made.target:g}" if made.aims else "", TARGET),
    ]
    return lines, legend


def _number(row: int, rows: int, up: Axis) -> str:
    """What stands at a row of the axis: its ends alone."""
    ends = {0: up.high, rows - 1: up.low}
    return format_number(ends[row], 3) if row in ends else ""


def ranks(recent: Recent, rows: int) -> list[Text]:
    """A bar a rank, what it computes and what it waits, in at most `rows` lines."""
    shown = recent.ranks
    if len(shown) >= rows:  # one line is the heading
        shown = sorted(shown, key=lambda rank: -rank.busy_ms)[: rows - 1]
    if not shown:
        return [cut("no step yet", SIDE, "dim")]
    hosts = {rank.host for rank in shown}
    which = "rank" if len(shown) == recent.of else f"slowest of {recent.of:,} ranks"
    longest = max(rank.busy_ms + rank.wait_ms for rank in shown)
    head = line([(which, "dim"), ("█ compute ░ wait, ms a step", "dim")], SIDE)
    return [head, *(_rank(rank, longest, named=len(hosts) > 1) for rank in shown)]


def _rank(rank: Rank, longest: float, *, named: bool) -> Text:
    part = rank.busy_ms / longest if longest > 0 else 0.0
    busy = bar(part, BAR, "█", "")
    whole = bar((rank.busy_ms + rank.wait_ms) / longest if longest > 0 else 0.0, BAR, "░", "")
    made = Text(f"{rank.number:>5} ")
    if named:
        host = cut(printable(rank.host), HOST)
        host.pad_right(HOST + 1 - host.cell_len)
        made.append_text(host)
    made.append(busy, STRAGGLER if rank.straggles else "blue").append(whole[len(busy) :], "dim")
    made.pad_right(BAR - len(whole))
    made.append(f" {format_number(rank.busy_ms, 3)}+{format_number(rank.wait_ms, 3)}")
    return (
        made.append(f" {format_number(rank.slowdown, 2)}x", STRAGGLER) if rank.straggles else made
    )
