"""Report of bench.collectives: times by size and algorithm, and the fastest at each size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from bench.common.sizes import format_size
from bench.common.text import NONE, TextTable, counted, figure, percent
from bench.reporting.chapter import Chapter, Figure, Source, with_note
from bench.reporting.collectives.conclusion import sentences
from bench.reporting.launches import (
    Contestant,
    Group,
    Launch,
    crowd,
    crowd_cards,
    group_launches,
    launch_notes,
    median_columns,
    rows_frame,
)
from bench.reporting.training.ranking import LEAST, UNTOLD
from bench.results.calls import Calls, read_calls
from bench.results.provenance import derive_from, provenance, read_origin
from bench.results.reader import Run
from bench.results.rows import ALLREDUCE, YARDSTICK, CollectiveRow, half_width, smallest_medians
from bench.results.schema import COMPLETE
from bench.results.statistics import median_interval

if TYPE_CHECKING:
    import pandas as pd

QUESTION = "Which algorithm of a collective is fastest"
FIRST = ("op", "algorithm", "ranks", "bytes", "dtype", "n", "p50_us", "ci_lo_us", "ci_hi_us")
"""First columns of the CSV, as in bench.collectives --csv; the others follow."""


def load(path: Path) -> Launch[CollectiveRow]:
    """Read a file and derive its rows without keeping the calls. Errors: BrokenFileError."""
    return derive_from(path, lambda: _launch(read_calls(path)))


def _launch(calls: Calls) -> Launch[CollectiveRow]:
    run = read_origin(calls.path, calls.attributes)
    around = run.environment().settings()
    ranks = int(run.attributes["ranks"])
    for name in ("alpha_ns", "bandwidth_Bps"):
        if not 0 < float(run.attributes[name]) < math.inf:
            raise ValueError(f"{name} must be finite and > 0, got {run.attributes[name]}")
    rows = calls.rows()
    for row in rows:
        if row.ci_lo_us <= 0:
            raise ValueError(f"{row.algorithm} at {row.bytes} bytes has no time above 0")
    types = ", ".join(dict.fromkeys(row.dtype for row in rows))
    hosts = around["hosts"] or "hosts unknown"
    label = f"collectives, {counted(ranks, 'rank')}, {types or 'no size yet'}, {hosts}"
    source = Source(label, run.status, provenance(run) | {"links": _links(run)})
    return Launch({"ranks": ranks, **around}, rows, source)


def _links(run: Run) -> str:
    """Describe the links as measured before any all-reduce."""
    text = f"{run.attributes['alpha_ns'] / 1e3:.3f} us of latency, half a round trip of 8 B; "
    text += f"{run.attributes['bandwidth_Bps'] / 1e9:.3f} GB/s between two ranks"
    memory = run.attributes.get("memory_Bps")
    return text + ("" if memory is None else f"; {memory / 1e9:.3f} GB/s of memory on a host")


def frame(launches: Sequence[Launch[CollectiveRow]]) -> pd.DataFrame:
    """Return a row per algorithm and size of every file."""
    return rows_frame(launches, FIRST)


def summary(launches: Sequence[Launch[CollectiveRow]]) -> str:
    """Return the numbers of files, algorithms and sizes."""
    rows = [row for launch in launches for row in launch.rows]
    algorithms = counted(len({row.algorithm for row in rows}), "algorithm")
    sizes = counted(len({row.bytes for row in rows}), "size")
    return f"{counted(len(launches), 'file')} of bench.collectives: {algorithms}, {sizes}"


def chapters(launches: Sequence[Launch[CollectiveRow]]) -> list[Chapter]:
    """Return one chapter: a table per condition, with medians over several launches."""
    parts = [part for launch in launches for part in _parts(launch)]
    same, groups = group_launches(parts) if parts else ("no size is finished yet", [])
    measured = [(group.condition, contested(cells(group))) for group in groups]
    notes = [*NOTES] if measured else []
    if any(row.chosen for _, rows in measured for row in rows):
        notes.append("algorithms that select one of the others at each size are not ranked")
    return [
        Chapter(
            title=f"Collectives: time of {_what(parts)} by size",
            summary=f"bench.collectives, {same}",
            tables=[text_table(condition, rows) for condition, rows in measured],
            notes=notes + launch_notes(launches, groups, "calls"),
            sources=[launch.source for launch in launches],
            draw=partial(_draw, measured, crowd(launches)),
            cards=crowd_cards(launches),
            sentences=sentences(measured),
        )
    ]


def _what(launches: Sequence[Launch[CollectiveRow]]) -> str:
    other = {row.op for launch in launches for row in launch.rows} - {ALLREDUCE}
    return "a call" if other else "an all-reduce"


def _parts(launch: Launch[CollectiveRow]) -> list[Launch[CollectiveRow]]:
    """Split the launch by operation and element type; return an empty list without rows."""
    kinds = dict.fromkeys((row.op, row.dtype) for row in launch.rows)
    return [
        replace(
            launch,
            settings={"op": op, "dtype": dtype, **launch.settings},
            rows=[row for row in launch.rows if (row.op, row.dtype) == (op, dtype)],
        )
        for op, dtype in kinds
    ]


def _draw(measured: Sequence[tuple[str, Sequence[Contestant]]], note: str) -> list[Figure]:
    from bench.reporting.collectives.charts import figures

    return with_note(figures(measured, YARDSTICK), note)


INTERVAL = {"p50_us": ("ci_lo_us", "ci_hi_us")}
NOTES = (
    "cells: median time of a call on its slowest rank, us [relative to the library's in the same "
    "launch]",
    f"bold: fastest, told apart from all others by at least {LEAST} launches of each",
    "* smallest median; = difference not significant: the 95 % intervals overlap or, with several "
    "launches, the interval of the ratio within a launch contains 1",
)
"""Explanations for readers of the table."""


def cells(group: Group[CollectiveRow]) -> list[Contestant]:
    """Return one row per algorithm and size, the median over the launches, in file order."""
    by_key: dict[tuple[str, int], dict[int, CollectiveRow]] = {}
    for number, launch in enumerate(group.launches):
        for row in launch.rows:
            by_key.setdefault((row.algorithm, row.bytes), {})[number] = row
    result = []
    for by_launch in by_key.values():
        rows = list(by_launch.values())
        values = median_columns(rows, INTERVAL) | {
            "chosen": ", ".join(dict.fromkeys(row.chosen for row in rows)),
            "wrong": max(row.wrong for row in rows),
            "flags": "".join(dict.fromkeys("".join(row.flags for row in rows))),
        }
        each = {number: row.p50_us for number, row in by_launch.items()}
        result.append(Contestant(**values, each=each))
    return result


def contested(rows: Sequence[Contestant]) -> list[Contestant]:
    """Return the rows with their `place` among the rows of the same size.

    Algorithms that select another one and algorithms with wrong sums are not ranked.
    """
    best: dict[int, Contestant] = {}
    for row in sorted((x for x in rows if x.competes), key=lambda x: x.p50_us):
        best.setdefault(row.bytes, row)
    placed = [
        replace(row, place=_place(row, best[row.bytes]) if row.competes else "") for row in rows
    ]
    return [replace(row, ahead=_ahead(row, placed)) for row in placed]


def _ahead(row: Contestant, rows: Sequence[Contestant]) -> bool:
    """Report whether a row is the smallest and enough launches tell it from all others."""
    same = [x for x in rows if x.bytes == row.bytes and x.competes]
    separate = all(x.place in ("*", "") and x.launches >= LEAST for x in same)
    return row.place == "*" and separate and len(same) > 1


def _place(row: Contestant, best: Contestant) -> str:
    if row is best:
        return "*"
    both = row.each.keys() & best.each.keys()
    if len(both) > 1:  # in pairs, because launches differ more than algorithms
        ratios = np.array([row.each[number] / best.each[number] for number in both])
        return "=" if median_interval(ratios)[1] <= 1 else ""
    return "=" if row.ci_lo_us <= best.ci_hi_us else ""


def text_table(condition: str, rows: Sequence[Contestant]) -> TextTable:
    """Return the table of a condition with the fastest algorithms below it.

    rows: ranked, not empty.
    """
    names = list(dict.fromkeys(row.algorithm for row in rows))
    sizes = sorted({row.bytes for row in rows})
    by_place = {(row.bytes, row.algorithm): row for row in rows}
    texts: list[list[str]] = []
    tones: dict[tuple[int, int], Literal["best", "bad"]] = {}
    for i, size in enumerate(sizes):
        row = [by_place.get((size, name)) for name in names]
        texts.append([format_size(size), *map(_cell, row)])
        tones |= {(i, j): tone for j, cell in enumerate(row, 1) if (tone := _tone(cell))}
    return TextTable(
        heading=condition,
        header=["size", *names],
        rows=texts,
        states=[COMPLETE] * len(sizes),
        words=1,
        tones=tones,
        foot=_foot(rows),
    )


def _cell(row: Contestant | None) -> str:
    if not row:
        return NONE
    over = row.vs_library
    ratio = "" if math.isnan(over) else f" [{over:.{2 if over < 99.5 else 0}f}x]"
    wrong = f" [{row.wrong:.0f} wrong]" if row.wrong > 0 else ""
    width = f" [±{percent(half_width(row))}]" if row.launches > 1 else ""
    return f"{row.place}{figure(row.p50_us)}{ratio}{width}{wrong}"


def _tone(row: Contestant | None) -> Literal["best", "bad"] | None:
    if row and row.wrong > 0:
        return "bad"
    return "best" if row and row.ahead else None


def _foot(rows: Sequence[Contestant]) -> list[str]:
    """Return the fastest algorithms, the selected ones and the width of the intervals."""
    smallest = [row for row in rows if row.place == "*"]
    lines = [
        f"smallest median by size: {smallest_medians(smallest) or NONE}",
        f"fastest by size: {smallest_medians([row for row in rows if row.ahead]) or UNTOLD}",
    ]
    for name in dict.fromkeys(row.algorithm for row in rows if row.chosen):
        took = [replace(row, algorithm=row.chosen) for row in rows if row.algorithm == name]
        lines.append(f"{name} took: {smallest_medians(took)}")
    n = [row.launches for row in rows]
    launches = f"{_span(n)} launches, " if max(n) > 1 else ""
    widest = max(rows, key=half_width)
    lines.append(
        f"{launches}{_span([row.n for row in rows])} calls of each; widest interval "
        f"±{percent(half_width(widest))}, {widest.algorithm} at {format_size(widest.bytes)}"
    )
    return lines


def _span(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"
