"""A partition as a picture: classes by workers, on the terminal and as a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.style import Style
from rich.text import Text

from bench.common.text import counted, printable

SHADES = " .:-=+*#%@"
"""Characters for shares from 0 to 1 on a terminal without colours."""
MOST_CLASSES = 40
"""Maximum number of rows on the terminal; the chart and the CSV show all."""
LABEL = 14
COLD, WARM = (13, 38, 76), (255, 214, 102)
"""Colours (RGB) of a share near 0 and of 1."""


def show(console: Console, counts: NDArray[np.int64], names: Sequence[str]) -> None:
    """Print the share of each class in the shard of each worker.

    counts: (W, C) int64, samples of each class per worker; names: of the classes.
    """
    workers, classes = counts.shape
    share = counts / np.maximum(1, counts.sum(1, keepdims=True))
    columns = min(workers, max(1, (console.width - LABEL - 2) // 2))
    chosen = np.flatnonzero(counts.any(0))
    chosen = np.sort(chosen[np.argsort(-counts[:, chosen].sum(0), kind="stable")[:MOST_CLASSES]])
    sizes = counts.sum(1)
    console.print("\nshare of each class (rows) in the shard of each worker (columns)")
    for c in chosen.tolist():
        line = Text(f"{printable(names[c] if c < len(names) else str(c))[:LABEL]:>{LABEL}} ")
        for k in range(columns):
            line.append_text(cell(float(share[k, c]), console.is_terminal))
        console.print(line, no_wrap=True, overflow="crop")
    line = Text(f"{'samples':>{LABEL}} ")
    for k in range(columns):
        line.append_text(cell(float(sizes[k]) / max(1, sizes.max()), console.is_terminal))
    console.print(line, no_wrap=True, overflow="crop")
    left = [
        f"{kind} {shown} of {total}"
        for kind, shown, total in (
            ("workers", columns, workers),
            ("classes", len(chosen), int(counts.any(0).sum())),
        )
        if shown < total
    ]
    scale = "" if console.is_terminal else f"; from 0 to 1: {SHADES!r}"
    note = (
        f"shown: {', '.join(left)}"
        if left
        else f"{counted(workers, 'worker')}, {counted(classes, 'class', 'classes')}"
    )
    console.print(
        f"{note}; samples relative to the largest shard{scale}", markup=False, soft_wrap=True
    )


def cell(share: float, coloured: bool) -> Text:
    """Return two columns in the shade of a share in [0, 1]."""
    if not coloured:
        place = 0 if share == 0 else 1 + min(len(SHADES) - 2, int(share * (len(SHADES) - 1)))
        return Text(2 * SHADES[place])
    if share == 0:
        return Text("  ")
    mixed = [round(a + (b - a) * share**0.5) for a, b in zip(COLD, WARM, strict=True)]
    return Text("  ", Style(bgcolor=f"#{mixed[0]:02x}{mixed[1]:02x}{mixed[2]:02x}"))


def csv(columns: Mapping[str, NDArray[Any]], counts: NDArray[np.int64]) -> str:
    """Return measures and samples by class as CSV, one row per worker."""
    header = ["worker", *columns, *(f"class_{c}" for c in range(counts.shape[1]))]
    rows = [
        [str(k), *(f"{values[k]:.10g}" for values in columns.values()), *map(str, counts[k])]
        for k in range(len(counts))
    ]
    return "\n".join(",".join(row) for row in [header, *rows]) + "\n"


def picture(counts: NDArray[np.int64], names: Sequence[str], title: str) -> Any:
    """Return an Altair heat map of classes by workers below a bar chart of the shard sizes."""
    import altair as alt
    import pandas as pd

    workers, classes = counts.shape
    present = np.flatnonzero(counts.any(0))
    worker, place = np.meshgrid(np.arange(workers), present, indexing="ij")
    sizes = counts.sum(1)
    class_names = [names[c] if c < len(names) else str(c) for c in range(classes)]
    cells = pd.DataFrame(
        {
            "worker": worker.ravel(),
            "class": [class_names[c] for c in place.ravel()],
            "samples": counts[worker, place].ravel(),
            "share": (counts[worker, place] / np.maximum(1, sizes)[worker]).ravel(),
        }
    )
    width = max(240, min(960, 26 * workers))
    ticks = alt.Axis(values=list(range(0, workers, max(1, workers // 16))), grid=False)
    x = alt.X("worker:O", title="worker", axis=ticks)
    heat = (
        alt.Chart(cells)
        .mark_rect()
        .encode(
            x=x,
            y=alt.Y("class:N", title="class", sort=[class_names[c] for c in present]),
            color=alt.Color(
                "share:Q",
                title="share of the shard",
                scale=alt.Scale(scheme="blues", domain=[0, 1]),
                legend=alt.Legend(format=".0%", gradientLength=160),
            ),
            tooltip=["worker", "class", "samples", alt.Tooltip("share:Q", format=".1%")],
        )
        .properties(width=width, height=max(120, min(900, 18 * len(present))))
    )
    bars = (
        alt.Chart(pd.DataFrame({"worker": np.arange(workers), "samples": sizes}))
        .mark_bar(color="#56B4E9")
        .encode(
            x=alt.X("worker:O", title=None, axis=None),
            y=alt.Y("samples:Q", title="samples", axis=alt.Axis(tickCount=3)),
            tooltip=["worker", "samples"],
        )
        .properties(width=width, height=70, title=title)
    )
    return alt.vconcat(bars, heat, spacing=6)
