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


def span(low: float, high: float) -> str:
    """The second line of a cell: an interval."""
    return f" [{short(low, 3)}, {short(high, 3)}]"


def short(value: float, digits: int = 4) -> str:
    """A number in so many significant digits; a dash for NaN."""
    if math.isnan(value):
        return NONE
    return "0" if value == 0 else f"{value:#.{digits}g}".rstrip(".")
