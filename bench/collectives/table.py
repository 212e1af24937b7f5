"""Our own rows: one an algorithm and size, at most 120 columns, the first of them bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench.common.sizes import size_text

Row = Mapping[str, Any]


def figure(x: float) -> str:
    """Four digits or more in at most six characters: 1.234, 12.34, 123.4, 1234, 1.23e6."""
    if not math.isfinite(x):
        return "-"
    for limit, digits in ((9.9995, 3), (99.995, 2), (999.95, 1), (999_999.5, 0)):
        if x < limit:
            return f"{x:.{digits}f}"
    return f"{x:.2e}".replace("e+0", "e").replace("e+", "e")


def percent(share: float) -> str:
    """A share as percent in four characters: 3.1%, 12%, 999%."""
    if not math.isfinite(share):
        return "-"
    return f"{100 * share:.1f}%" if share < 0.0995 else f"{min(100 * share, 999):.0f}%"


def half_width(row: Row) -> float:
    """The larger half of the median's interval, as a share of the median."""
    p50 = row["p50_us"]
    return float(max(row["ci_hi_us"] - p50, p50 - row["ci_lo_us"]) / p50)


COLUMNS: dict[str, tuple[str, int, Callable[[Row], str]]] = {
    "count": ("", 5, lambda row: str(row["count"])),
    "dtype": ("", 5, lambda row: row["dtype"]),
    "algorithm": ("", 9, lambda row: row["algorithm"]),
    "n": ("", 5, lambda row: str(row["n"])),
    "p50(us)": ("", 7, lambda row: figure(row["p50_us"])),
    "ci95": ("+-", 4, lambda row: percent(half_width(row))),
    "p99": ("us", 6, lambda row: figure(row["p99_us"])),
    "max": ("us", 6, lambda row: figure(row["max_us"])),
    "algbw": ("GB/s", 5, lambda row: figure(row["algbw_GBps"])),
    "busbw": ("GB/s", 5, lambda row: figure(row["busbw_GBps"])),
    "%bound": ("", 6, lambda row: figure(row["bound_percent"])),
    "vs": ("library", 7, lambda row: figure(row["vs_library"])),
    "#wrong": ("", 6, lambda row: str(row["wrong"]) if row["wrong"] >= 0 else "-"),
}
"""Title -> second line of the title, width, text of a row; size and flags stand around them."""


class Table:
    """The rows as they come."""

    def __init__(self, sizes: Sequence[int], itemsize: int, dtype: str, names: Sequence[str]):
        largest = max(sizes)
        self._first = max(len("#size(B)"), len(str(largest)))
        self._width = {title: width for title, (_, width, _) in COLUMNS.items()}
        for title, texts in (
            ("count", [str(largest // itemsize)]),
            ("dtype", [dtype]),
            ("algorithm", names),
        ):
            self._width[title] = max(self._width[title], *map(len, texts))

    def head(self) -> list[str]:
        """The two lines above the rows."""
        titles = {title: title for title in COLUMNS}
        units = {title: unit for title, (unit, _, _) in COLUMNS.items()}
        return [self._line("#size(B)", titles, "flags"), self._line("#", units, "")]

    def rows(self, rows: Sequence[Row]) -> list[str]:
        """A line a row, and one that says what a choosing algorithm took."""
        lines = []
        for row in rows:
            texts = {title: text(row) for title, (_, _, text) in COLUMNS.items()}
            lines.append(self._line(str(row["bytes"]), texts, row["flags"]))
        return lines + [
            f"# {row['algorithm']} took {row['chosen']} at {size_text(row['bytes'])}"
            for row in rows
            if row["chosen"]
        ]

    def _line(self, first: str, texts: Mapping[str, str], flags: str) -> str:
        cells = [
            f"{text:<{self._width[title]}}"
            if title == "algorithm"
            else f"{text:>{self._width[title]}}"
            for title, text in texts.items()
        ]
        return " ".join([f"{first:<{self._first}}", *cells, flags]).rstrip()


def fastest(rows: Sequence[Row]) -> str:
    """Which algorithm has the least median, from size to size."""
    best: dict[int, Row] = {}
    for row in rows:
        other = best.setdefault(row["bytes"], row)
        if row["p50_us"] < other["p50_us"]:
            best[row["bytes"]] = row
    runs: list[tuple[str, list[int]]] = []
    for nbytes, row in sorted(best.items()):
        if not runs or runs[-1][0] != row["algorithm"]:
            runs.append((row["algorithm"], []))
        runs[-1][1].append(nbytes)
    return ", ".join(
        f"{name} {size_text(sizes[0])}" + (f"-{size_text(sizes[-1])}" if len(sizes) > 1 else "")
        for name, sizes in runs
    )


def verdict(rows: Sequence[Row], checked: bool) -> str:
    """What the checks found."""
    if not checked:
        return "#wrong: not checked (-c 0)"
    bad = [row for row in rows if row["wrong"]]
    if not bad:
        return f"#wrong: 0, every sum exact in {len(rows)} rows"
    places = ", ".join(f"{row['algorithm']} at {size_text(row['bytes'])}" for row in bad[:4])
    more = f" and {len(bad) - 4} more" if len(bad) > 4 else ""
    return f"#wrong: {sum(row['wrong'] for row in bad)} elements, {places}{more}: exit code 1"
