"""Curves and bars drawn with characters, as plain texts."""

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

from bench.common.text import format_number, printable
from bench.watch.training import Rank, Recent, Training

BLOCKS = "▁▂▃▄▅▆▇█"
LOG_RATIO = 20
"""What is to become small and falls as far as this is drawn on a log scale."""
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of a braille character, Unicode chapter 21.1: four rows of two dots."""
BRAILLE = 0x2800
DENSE = 8
"""Points of a curve for a column."""


@dataclass(frozen=True)
class Axis:
    """From values to 0 ... 1."""

    low: float
    high: float
    log: bool

    def place(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where values lie, those out of range at its ends; NaN for what is not finite."""
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
    """An axis as long as the finite values; None without any.

    Logarithmic for what is to become small, direction `min`, and falls far.
    """
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    low, high = float(finite.min()), float(finite.max())
    return Axis(low, high, log=direction == "min" and low > 0 and high > LOG_RATIO * low)


def sparkline(values: NDArray[np.float64], width: int, direction: str) -> str:
    """At most `width` of the values as blocks, first and last among them; a gap is a space."""
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
    """A curve as lines of braille characters, blank where it does not pass; size: columns, rows.

    x, y: (n,) points in order, joined by straight lines; a point that is not finite parts them.
    Of very many some are left out.
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
    """The character of 4 x 2 dots; a space for none."""
    bits = int((np.array(DOTS) * dots).sum())
    return chr(BRAILLE + bits) if bits else " "


def bar(part: float, width: int, full: str = "━", empty: str = "─") -> str:
    """A bar of which a part, 0 ... 1, is full."""
    done = min(max(int(part * width), 0), width) if math.isfinite(part) else 0
    return full * done + empty * (width - done)


Part: TypeAlias = tuple[str, str]
"""A text and its style."""

GAP = "  "
"""Between parts."""


def cut(text: str, width: int, style: str = "") -> Text:
    """The text, its end replaced by an ellipsis where it is wider."""
    made = Text(text, style, no_wrap=True)
    made.truncate(width, overflow="ellipsis")
    return made


def line(parts: Iterable[Part], width: int, indent: str = "") -> Text:
    """The parts that are not empty and fit in their order; the first is cut where it must be."""
    made = Text(indent, no_wrap=True)
    first = True
    for text, style in parts:
        if not text:
            continue
        part = cut(text, width - made.cell_len, style) if first else Text(GAP).append(text, style)
        if made.cell_len + part.cell_len <= width:
            made.append_text(part)
            first = False
    return made


def pair(name: Part, told: Sequence[Part], width: int, mark: Part = ("", "")) -> Text:
    """A name, cut where it must be, and beside it of what is said of it the parts that fit.

    mark: stands before the name.
    """
    begin = Text.assemble(mark, GAP, no_wrap=True) if mark[0] else Text(no_wrap=True)
    free = width - begin.cell_len - (len(GAP) if told else 0)
    said = line(told, max(free - cell_len(name[0]), free // 2))
    begin.append_text(cut(name[0], free - said.cell_len, name[1]))
    return begin.append(GAP).append_text(said) if said.cell_len else begin


def fitting(groups: Sequence[Sequence[Text]], of: int, room: int, rest: str) -> list[Text]:
    """The lines of as many groups as have room, and how many of all the `rest` are left out.

    of: how many groups there are, in and beside the list; room: lines.
    """
    if len(groups) == of and sum(map(len, groups)) <= room:
        return [each for group in groups for each in group]
    made: list[Text] = []
    shown = 0
    for group in groups:
        if len(made) + len(group) >= room:
            break
        made += group
        shown += 1
    more = "more " if shown else ""
    return [*made, Text(f"  and {of - shown:,} {more}{rest}", "dim", no_wrap=True)]


EXTRA = 3
"""Lines of a panel that are not the curve's."""
LABEL = 9
"""Columns of the numbers at the axis."""
SIDE = 34
"""Columns for the ranks."""
RANK_BAR, HOST = 10, 7
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
    busy = bar(part, RANK_BAR, "█", "")
    whole = bar((rank.busy_ms + rank.wait_ms) / longest if longest > 0 else 0.0, RANK_BAR, "░", "")
    made = Text(f"{rank.number:>5} ")
    if named:
        host = cut(printable(rank.host), HOST)
        host.pad_right(HOST + 1 - host.cell_len)
        made.append_text(host)
    made.append(busy, STRAGGLER if rank.straggles else "blue").append(whole[len(busy) :], "dim")
    made.pad_right(RANK_BAR - len(whole))
    made.append(f" {format_number(rank.busy_ms, 3)}+{format_number(rank.wait_ms, 3)}")
    return (
        made.append(f" {format_number(rank.slowdown, 2)}x", STRAGGLER) if rank.straggles else made
    )
