"""A table as texts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

NONE = "-"


@dataclass(frozen=True)
class TextTable:
    """A table as texts, for the terminal and the page. `value [span]` is a cell of two lines."""

    heading: str
    """What sets it apart from the other tables of its chapter; empty for one alone."""
    header: list[str]
    rows: list[list[str]]
    states: list[str]
    """The status of each row."""
    words: int
    """So many first columns are words, the others are numbers."""
    tones: Mapping[tuple[int, int], Literal["best", "bad"]] = field(default_factory=dict)
    """Row and column of the cells that stand out."""
    foot: list[str] = field(default_factory=list)
    """What it comes to, a line each."""


def interval_line(low: float, high: float) -> str:
    """The second line of a cell: an interval."""
    return f" [{format_number(low, 3)}, {format_number(high, 3)}]"


def format_number(value: float, digits: int = 4) -> str:
    """A number in so many significant digits; a dash for NaN."""
    if math.isnan(value):
        return NONE
    return "0" if value == 0 else f"{value:#.{digits}g}".rstrip(".")


def figure(x: float) -> str:
    """Return a number with four digits or more in six characters: 1.234, 12.34, 1234, 1.23e6."""
    if not math.isfinite(x):
        return "-"
    for limit, digits in ((9.9995, 3), (99.995, 2), (999.95, 1), (999_999.5, 0)):
        if x < limit:
            return f"{x:.{digits}f}"
    return f"{x:.2e}".replace("e+0", "e").replace("e+", "e")


def percent(share: float) -> str:
    """Return a fraction as a percentage in at most four characters: 3.1%, 12%, 999%."""
    if not math.isfinite(share):
        return "-"
    return f"{100 * share:.1f}%" if share < 0.0995 else f"{min(100 * share, 999):.0f}%"


def factor(value: float) -> str:
    """Return a contraction factor with six decimals; a dash for NaN."""
    return "-" if math.isnan(value) else f"{value:.6f}" if value else "0"


def signed_percent(value: float) -> str:
    """Return a percentage with its sign in at most six characters; a dash if not finite."""
    if not math.isfinite(value):
        return "-"
    places = 2 if abs(value) < 99 else 0
    return f"{round(value, places) + 0.0:+.{places}f}"  # + 0.0: a zero has no minus
