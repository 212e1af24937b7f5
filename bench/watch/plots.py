"""Curves and bars drawn with characters, as plain texts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

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
