"""Our own rows: one an algorithm and size, at most 120 columns, the first of them bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bench.common.sizes import format_size
from bench.common.text import figure, percent
from bench.results.calls import half_width
from bench.results.rows import CollectiveRow

COLUMNS: dict[str, tuple[str, int, Callable[[CollectiveRow], str]]] = {
    "count": ("", 5, lambda row: str(row.count)),
    "dtype": ("", 5, lambda row: row.dtype),
    "algorithm": ("", 9, lambda row: row.algorithm),
    "n": ("", 5, lambda row: str(row.n)),
    "p50(us)": ("", 7, lambda row: figure(row.p50_us)),
    "ci95": ("+-", 4, lambda row: percent(half_width(row))),
    "p99": ("us", 6, lambda row: figure(row.p99_us)),
    "max": ("us", 6, lambda row: figure(row.max_us)),
    "algbw": ("GB/s", 5, lambda row: figure(row.algbw_GBps)),
    "busbw": ("GB/s", 5, lambda row: figure(row.busbw_GBps)),
    "%bound": ("", 6, lambda row: figure(row.bound_percent)),
    "vs": ("library", 7, lambda row: figure(row.vs_library)),
    "#wrong": ("", 6, lambda row: str(row.wrong) if row.wrong >= 0 else "-"),
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

    def rows(self, rows: Sequence[CollectiveRow]) -> list[str]:
        """A line a row, and one that says what a choosing algorithm took."""
        lines = []
        for row in rows:
            texts = {title: text(row) for title, (_, _, text) in COLUMNS.items()}
            lines.append(self._line(str(row.bytes), texts, row.flags))
        return lines + [
            f"# {row.algorithm} took {row.chosen} at {format_size(row.bytes)}"
            for row in rows
            if row.chosen
        ]

    def _line(self, first: str, texts: Mapping[str, str], flags: str) -> str:
        cells = [
            f"{text:<{self._width[title]}}"
            if title == "algorithm"
            else f"{text:>{self._width[title]}}"
            for title, text in texts.items()
        ]
        return " ".join([f"{first:<{self._first}}", *cells, flags]).rstrip()


def verdict(rows: Sequence[CollectiveRow], checked: bool) -> str:
    """What the checks found."""
    if not checked:
        return "#wrong: not checked (-c 0)"
    bad = [row for row in rows if row.wrong]
    if not bad:
        return f"#wrong: 0, every sum exact in {len(rows)} rows"
    places = ", ".join(f"{row.algorithm} at {format_size(row.bytes)}" for row in bad[:4])
    more = f" and {len(bad) - 4} more" if len(bad) > 4 else ""
    return f"#wrong: {sum(row.wrong for row in bad)} elements, {places}{more}: exit code 1"
