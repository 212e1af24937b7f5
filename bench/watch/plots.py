"""Curves, bars and lines of text for a terminal, and the panel of one run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len
from rich.text import Text

from bench.common.text import format_number, printable, since_mark
from bench.watch.training import Rank, Recent, Training

BLOCKS = "▁▂▃▄▅▆▇█"
LOG_RATIO = 20
"""Range ratio above which a metric to be minimised is drawn on a log scale."""
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of a braille character, Unicode chapter 21.1: four rows of two dots."""
BRAILLE = 0x2800
"""Code point of the empty braille character."""
DENSE = 8
"""Points of a curve per column."""


@dataclass(frozen=True)
class Axis:
    """Map from values to 0 ... 1."""

    low: float
    high: float
    log: bool

    def place(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the positions of values, clipped to 0 ... 1; NaN for NaN and infinity."""
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            values = np.log(np.where(values > 0, values, np.nan))
        else:
            low, high = self.low, self.high
        spread = high - low
        placed = (
            (values - low) / spread if spread > 0 else np.where(np.isfinite(values), 0.5, np.nan)
        )
        placed = np.where(np.isfinite(values), placed, np.nan)
        clipped: NDArray[np.float64] = np.clip(placed, 0.0, 1.0)
        return clipped


def axis(values: NDArray[np.float64], direction: str) -> Axis | None:
    """Return an axis over the finite values; None without any.

    It is logarithmic for a wide range of a metric to be minimised, direction `min`.
    """
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    low, high = float(finite.min()), float(finite.max())
    return Axis(low, high, log=direction == "min" and low > 0 and high > LOG_RATIO * low)


def sparkline(values: NDArray[np.float64], width: int, direction: str) -> str:
    """Return at most `width` of the values as blocks, including first and last; gaps are spaces."""
    scale = axis(values, direction)
    if scale is None:
        return ""
    some = np.linspace(0, len(values) - 1, min(len(values), width)).round().astype(int)
    placed = scale.place(values[some])
    return "".join(
        " " if math.isnan(x) else BLOCKS[min(int(x * len(BLOCKS)), len(BLOCKS) - 1)] for x in placed
    )


def curve(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    scales: tuple[Axis, Axis],
    size: tuple[int, int],
) -> list[str]:
    """Return a curve as lines of braille characters; size: columns, rows.

    x, y: (n,) float64, points in order, joined by straight lines and interrupted at points that are
    not finite. Long curves are thinned.
    """
    columns, rows = size
    some = np.unique(np.linspace(0, len(x) - 1, min(len(x), DENSE * columns)).round().astype(int))
    x, y = x[some], y[some]
    right, down = 2 * columns - 1, 4 * rows - 1
    dots = np.zeros((down + 1, right + 1), bool)
    across, up = scales[0].place(x) * right, scales[1].place(y) * down
    places = list(zip(across.tolist(), up.tolist(), strict=True))
    lines = [*pairwise(places), *zip(places, places, strict=True)]
    for (x0, y0), (x1, y1) in lines:
        if any(map(math.isnan, (x0, y0, x1, y1))):
            continue
        n = math.ceil(max(abs(x1 - x0), abs(y1 - y0))) + 1
        line_x, line_y = np.linspace(x0, x1, n), np.linspace(y0, y1, n)
        dots[down - line_y.round().astype(int), line_x.round().astype(int)] = True
    return [
        "".join(_braille(dots[4 * i : 4 * i + 4, 2 * j : 2 * j + 2]) for j in range(columns))
        for i in range(rows)
    ]


def _braille(dots: NDArray[np.bool_]) -> str:
    """Return the character of (4, 2) dots; a space for none."""
    bits = int((np.array(DOTS) * dots).sum())
    return chr(BRAILLE + bits) if bits else " "


def bar(part: float, width: int, full: str = "━", empty: str = "─") -> str:
    """Return a bar filled to the fraction `part`, 0 ... 1."""
    done = min(max(int(part * width), 0), width) if math.isfinite(part) else 0
    return full * done + empty * (width - done)


Part: TypeAlias = tuple[str, str]
"""A text and its style."""

GAP = "  "
"""Separator between parts."""


def cut(text: str, width: int, style: str = "") -> Text:
    """Return the text, truncated with an ellipsis to a width."""
    result = Text(text, style, no_wrap=True)
    result.truncate(width, overflow="ellipsis")
    return result


def line(parts: Iterable[Part], width: int, indent: str = "") -> Text:
    """Return the non-empty parts that fit; only the first is truncated."""
    result = Text(indent, no_wrap=True)
    first = True
    for text, style in parts:
        if not text:
            continue
        part = cut(text, width - result.cell_len, style) if first else Text(GAP).append(text, style)
        if result.cell_len + part.cell_len <= width:
            result.append_text(part)
            first = False
    return result


def pair(name: Part, details: Sequence[Part], width: int, mark: Part = ("", "")) -> Text:
    """Return a name, truncated if necessary, and the parts of its description that fit.

    mark: precedes the name.
    """
    begin = Text.assemble(mark, GAP, no_wrap=True) if mark[0] else Text(no_wrap=True)
    free = width - begin.cell_len - (len(GAP) if details else 0)
    text = line(details, max(free - cell_len(name[0]), free // 2))
    begin.append_text(cut(name[0], free - text.cell_len, name[1]))
    return begin.append(GAP).append_text(text) if text.cell_len else begin


def fitting(groups: Sequence[Sequence[Text]], of: int, room: int, rest: str) -> list[Text]:
    """Return the lines of the groups that fit, and a line with the number of groups left out.

    of: total number of groups; room: number of lines; rest: noun of the groups.
    """
    if len(groups) == of and sum(map(len, groups)) <= room:
        return [each for group in groups for each in group]
    result: list[Text] = []
    shown = 0
    for group in groups:
        if len(result) + len(group) >= room:
            break
        result += group
        shown += 1
    more = "more " if shown else ""
    return [*result, Text(f"  and {of - shown:,} {more}{rest}", "dim", no_wrap=True)]


EXTRA = 3
"""Lines of a panel besides the curve."""
LABEL = 9
"""Columns of the axis labels."""
SIDE = 34
"""Columns of the list of ranks."""
RANK_BAR, HOST = 10, 7
MEAN, WORST, TARGET, STRAGGLER = "green", "magenta", "yellow", "bold red"


def panel(run: Training, title: str, name: str, width: int, rows: int) -> list[Text]:
    """Return a heading, the curve with the ranks beside it, and the legend.

    name: of the file; rows: height of the curve.
    """
    heading = pair((title, "bold"), [(name, "dim")], width)
    beside = width - SIDE - len(GAP)
    lines = [Text("─" * width, "dim"), heading]
    above, legend = learning(run, beside, rows)
    for left, right in zip_longest(above, ranks(run.recent, rows), fillvalue=Text()):
        drawn = left.copy()
        drawn.pad_right(beside - left.cell_len)
        lines.append(Text.assemble(drawn, GAP, right))
    return [*lines, line(legend, width)]


def learning(run: Training, width: int, rows: int) -> tuple[list[Text], list[Part]]:
    """Return the curves of the mean model, the worst worker and the target, and their legend."""
    metric, worst, steps = (run.curve[x] for x in ("metric", "worst", "step"))
    up = axis(np.concatenate([metric, worst, [run.target]]), run.direction)
    across = axis(steps, "max")
    if up is None or across is None or not np.isfinite(metric).any():
        return [cut("no evaluation yet", width, "dim")], []
    size, ends = (width - LABEL - 1, rows), np.array([across.low, across.high])
    curves = [(steps, metric, MEAN), (steps, worst, WORST), (ends, np.full(2, run.target), TARGET)]
    layers = [(curve(x, y, (across, up), size), style) for x, y, style in curves]
    lines = [Text(f"{_number(i, rows, up):>{LABEL}} ") for i in range(rows)]
    for i, drawn in enumerate(lines):
        for cells in zip(*(layer[i] for layer, _ in layers), strict=True):
            chosen = next((k for k, x in enumerate(cells) if x != " "), 0)
            drawn.append(cells[chosen], layers[chosen][1])
    scale = ", log scale" if up.log else ""
    legend = [
        (f"{'':{LABEL}} step {across.low:.0f} to {across.high:.0f}", "dim"),
        (f"{printable(run.metric)} of the mean model{scale}", MEAN),
        (f"worst worker{since_mark(run.since)}", WORST),
        (f"target {run.target:g}" if run.aims else "", TARGET),
    ]
    return lines, legend


def _number(row: int, rows: int, up: Axis) -> str:
    """Return the axis label of a row; only both ends have one."""
    ends = {0: up.high, rows - 1: up.low}
    return format_number(ends[row], 3) if row in ends else ""


def ranks(recent: Recent, rows: int) -> list[Text]:
    """Return a bar per rank, compute and wait, in at most `rows` lines."""
    shown = recent.ranks
    if len(shown) >= rows:  # one line is for the heading
        shown = sorted(shown, key=lambda rank: -rank.busy_ms)[: rows - 1]
    if not shown:
        return [cut("no step yet", SIDE, "dim")]
    hosts = {rank.host for rank in shown}
    which = "rank" if len(shown) == recent.of else f"slowest of {recent.of:,} ranks"
    longest = max(rank.busy_ms + rank.wait_ms for rank in shown)
    head = line([(which, "dim"), ("█ compute ░ wait, ms per step", "dim")], SIDE)
    return [head, *(_rank(rank, longest, named=len(hosts) > 1) for rank in shown)]


def _rank(rank: Rank, longest: float, *, named: bool) -> Text:
    part = rank.busy_ms / longest if longest > 0 else 0.0
    busy = bar(part, RANK_BAR, "█", "")
    whole = bar((rank.busy_ms + rank.wait_ms) / longest if longest > 0 else 0.0, RANK_BAR, "░", "")
    result = Text(f"{rank.number:>5} ")
    if named:
        host = cut(printable(rank.host), HOST)
        host.pad_right(HOST + 1 - host.cell_len)
        result.append_text(host)
    result.append(busy, STRAGGLER if rank.straggles else "blue").append(whole[len(busy) :], "dim")
    result.pad_right(RANK_BAR - len(whole))
    result.append(f" {format_number(rank.busy_ms, 3)}+{format_number(rank.wait_ms, 3)}")
    return (
        result.append(f" {format_number(rank.slowdown, 2)}x", STRAGGLER)
        if rank.straggles
        else result
    )
