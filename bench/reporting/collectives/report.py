"""What a report says of bench.collectives: times by size and algorithm, and who wins where."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.reporting.chapter import Chapter, Figure, Source
from bench.reporting.collectives.table import NOTES, cells, contested, text_table
from bench.reporting.launches import Launch, Row, grouped, repeats, rows_frame, surroundings
from bench.results.calls import YARDSTICK, Calls, read_calls
from bench.results.origin import derived, provenance, read_origin
from bench.results.reader import Run

if TYPE_CHECKING:
    import pandas as pd

QUESTION = "Which all-reduce is fastest"
FIRST = ("op", "algorithm", "ranks", "bytes", "dtype", "n", "p50_us", "ci_lo_us", "ci_hi_us")
"""The first columns of the CSV, as of bench.collectives --csv; the others follow."""


def load(path: Path) -> Launch:
    """Read a file and derive its rows; the calls are let go. Errors: BrokenFileError."""
    return derived(path, lambda: _launch(read_calls(path)))


def _launch(calls: Calls) -> Launch:
    run = read_origin(calls.path, calls.attributes)
    around = surroundings(run)
    ranks = int(run.attributes["ranks"])
    rows = calls.rows()
    for row in rows:
        row["bound_us"] = calls.bound_ns(row["bytes"]) / 1e3
        if not (row["ci_lo_us"] > 0 and math.isfinite(row["bound_us"])):
            raise ValueError(f"{row['algorithm']} at {row['bytes']} bytes has no time above 0")
    types = ", ".join(dict.fromkeys(row["dtype"] for row in rows))
    label = f"collectives, {ranks} ranks, {types or 'no size yet'}, {around['hosts']}"
    source = Source(label, run.status, provenance(run) | {"links": _links(run)})
    return Launch({"ranks": ranks, **around}, rows, source)


def _links(run: Run) -> str:
    """What the machine gave before any all-reduce."""
    said = f"{run.attributes['alpha_ns'] / 1e3:.3f} us of latency, half a round trip of 8 B; "
    said += f"{run.attributes['bandwidth_Bps'] / 1e9:.3f} GB/s between two ranks"
    memory = run.attributes.get("memory_Bps")
    return said + ("" if memory is None else f"; {memory / 1e9:.3f} GB/s of memory on a host")


def frame(launches: Sequence[Launch]) -> pd.DataFrame:
    """A row an algorithm and size of every file."""
    return rows_frame(launches, FIRST)


def summary(launches: Sequence[Launch]) -> str:
    """How much there is."""
    rows = [row for launch in launches for row in launch.rows]
    n, algorithms, sizes = (
        len(launches),
        len({row["algorithm"] for row in rows}),
        len({row["bytes"] for row in rows}),
    )
    files = "file" if n == 1 else "files"
    return f"{n} {files} of bench.collectives: {algorithms} algorithms, {sizes} sizes"


def chapters(launches: Sequence[Launch]) -> list[Chapter]:
    """One chapter: a table for every condition, with several launches their medians."""
    parts = [part for launch in launches for part in _parts(launch)]
    same, groups = grouped(parts) if parts else ("no size is finished yet", [])
    measured = [(group.condition, contested(cells(group))) for group in groups]
    notes = [*NOTES] if measured else []
    if any(row["chosen"] for _, rows in measured for row in rows):
        notes.append("what chooses is one of the others at each size, and out of the contest")
    return [
        Chapter(
            title="Collectives: time of an all-reduce by size",
            summary=f"bench.collectives, {same}",
            tables=[text_table(condition, rows) for condition, rows in measured],
            notes=notes + repeats(launches, groups, "calls"),
            sources=[launch.source for launch in launches],
            draw=partial(_draw, measured),
        )
    ]


def _parts(launch: Launch) -> list[Launch]:
    """The launch by operation and type of the elements; none without rows."""
    kinds = dict.fromkeys((row["op"], row["dtype"]) for row in launch.rows)
    return [
        replace(
            launch,
            settings={"op": op, "dtype": dtype, **launch.settings},
            rows=[row for row in launch.rows if (row["op"], row["dtype"]) == (op, dtype)],
        )
        for op, dtype in kinds
    ]


def _draw(measured: Sequence[tuple[str, Sequence[Row]]]) -> list[Figure]:
    from bench.reporting.collectives.charts import figures

    return figures(measured, YARDSTICK)
