"""Text for people: tables, numbers, settings, byte counts and durations."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

NONE = "-"


@dataclass(frozen=True)
class TextTable:
    """Table of texts for the terminal and the page.

    A cell `value [interval]` is shown on two lines.
    """

    heading: str
    """Title among the tables of a chapter; empty for a single table."""
    header: list[str]
    rows: list[list[str]]
    states: list[str]
    """The status of each row."""
    words: int
    """Number of leading columns that hold words; the others hold numbers."""
    tones: Mapping[tuple[int, int], Literal["best", "bad"]] = field(default_factory=dict)
    """Highlighted cells by (row, column)."""
    foot: list[str] = field(default_factory=list)
    """Lines below the table."""


def interval_line(low: float, high: float) -> str:
    """Return the second line of a cell: an interval."""
    return f" [{format_number(low, 3)}, {format_number(high, 3)}]"


def since_mark(since: int) -> str:
    """Return the mark of a metric of workers some steps after the last exchange; else empty."""
    return f" (+{since})" if since > 0 else ""


def format_number(value: float, digits: int = 4) -> str:
    """Return a number with a count of significant digits; a dash for NaN."""
    if math.isnan(value):
        return NONE
    return "0" if value == 0 else f"{value:#.{digits}g}".rstrip(".")


def format_score(value: float) -> str:
    """Return a loss or a metric with four decimals; from 10^6 on in scientific notation."""
    return f"{value:.4e}" if 1e6 <= abs(value) < math.inf else f"{value:.4f}"


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


Setting: TypeAlias = str | int | float | None


BARE = (
    *("algorithm", "partition", "op"),
    *("processor", "arithmetic", "hosts", "mpi library", "cores", "binding"),
)
"""Settings shown by their value alone."""


ABSENT = {"eval_at": "period", "clock": "wall"}
"""Words for settings without a value."""


def counted(number: float, noun: str, plural: str = "") -> str:
    """Return a count with its noun: `1 worker`, `1,024 workers`; plural: if not noun + s."""
    text = f"{number:,.0f}" if float(number).is_integer() else f"{number:g}"
    return f"{text} {noun if number == 1 else plural or noun + 's'}"


def short_processor(name: str) -> str:
    """Return the name of a processor without trademarks and words that all names have."""
    words = re.sub(r"\((R|TM)\)|\b(CPU|Processor|\d+-Core)\b", " ", name)
    return " ".join(words.split()) or name


def setting_label(name: str, value: Setting) -> str:
    """Return a setting as a label: `iid`, `16 workers`, `batch 8`."""
    if name in ("workers", "ranks", "threads", "steps"):
        unit = {"threads": "threads a rank"}.get(name, name)
        return f"{value} {unit.replace('s', '', 1) if value == 1 else unit}"
    if isinstance(value, str) and name == "processor":
        return f"processor {short_processor(value)}"
    if isinstance(value, str) and name in BARE:
        return value
    absent = ABSENT.get(name, "none")
    return f"{name.replace('_', ' ')} {absent if value is None else value}"


def printable(text: str) -> str:
    """Return a text with control characters replaced, which a terminal would obey."""
    return "".join(x if x.isprintable() else "\ufffd" for x in text)


def one_line(text: str) -> str:
    """Return a text of files or users as one line without control characters."""
    return printable(" ".join(text.splitlines()))


def format_bytes(nbytes: float) -> str:
    """Return a number of bytes with a decimal unit: `1.5 MB` is 1.5e6 bytes."""
    for unit in ("B", "kB", "MB", "GB"):
        if not nbytes >= 999.5:
            return f"{nbytes:.3g} {unit}"
        nbytes /= 1000
    return f"{nbytes:.3g} TB"


def format_duration(seconds: float) -> str:
    """Return a duration as text: `2.1 s`, `14 min`, `1 h 20 min`."""
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
