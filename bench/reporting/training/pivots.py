"""Compact tables of training runs: one cell per case, for the terminal and for Markdown.

A row is an algorithm and a column a number of workers. A block is a combination of the other
settings, for example a partition. Settings determined by the row, such as a learning rate per
algorithm, are part of its name; those determined by the column, of its title.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from statistics import median

from rich.console import Console

from bench.common.text import (
    NONE,
    format_bytes,
    format_number,
    interval_line,
    printable,
    since_mark,
)
from bench.reporting.training import since
from bench.reporting.training.runs import Digest
from bench.reporting.training.sections import (
    Section,
    depends_on,
    order,
    sections,
    settings_label,
)
from bench.results.schema import COMPLETE

LABEL = 20
"""Columns of the name of a row; longer names are broken into lines."""


@dataclass(frozen=True)
class Block:
    """Cells of runs that differ only in row, column and seed."""

    heading: str
    """Settings that distinguish this block from the others; empty for a single block."""
    columns: list[str]
    rows: dict[str, list[list[str]]]
    """Name -> one cell per column; a cell is a list of lines."""


@dataclass(frozen=True)
class Pivot:
    """Blocks of one task and metric, for the terminal and for Markdown."""

    summary: str
    """The settings that all runs share."""
    blocks: list[Block]
    notes: list[str]
    """Explanations for readers of the cells."""


def pivots(runs: Sequence[Digest]) -> list[Pivot]:
    """Return the tables of all runs."""
    return [_pivot(section) for section in sections(runs)]


def _pivot(section: Section) -> Pivot:
    runs = section.runs
    row, column = _axes(section.varying)
    rest = [x for x in section.varying if x not in (row, column)]
    beside = [row, *(x for x in rest if depends_on(runs, x, row))]
    above = [column, *(x for x in rest if x not in beside and depends_on(runs, x, column))]
    apart = [x for x in rest if x not in (*beside, *above)]
    cells: dict[str, dict[tuple[str, str], list[Digest]]] = {}
    for run in runs:
        place = settings_label(run, beside), settings_label(run, above)
        cells.setdefault(settings_label(run, apart), {}).setdefault(place, []).append(run)
    most = max(len(cell) for block in cells.values() for cell in block.values())
    names, titles = _in_order(runs, beside), _in_order(runs, above)
    blocks = []
    for heading, block in cells.items():
        rows = {
            name: [_cell(block.get((name, title), []), most) for title in titles]
            for name in names
            if any((name, title) in block for title in titles)
        }
        blocks.append(Block(heading, titles, rows))
    return Pivot(section.summary(), blocks, _notes(section, most))


def _axes(varying: Sequence[str]) -> tuple[str, str]:
    """Return the settings of rows and columns."""
    free = [x for x in varying if x not in ("workers", "partition")]
    row = "algorithm" if "algorithm" in free or not free else free[0]
    column = "partition" if "partition" in varying and "workers" not in varying else "workers"
    return row, column


def _in_order(runs: Sequence[Digest], names: Sequence[str]) -> list[str]:
    """Return the distinct values of these settings, ordered by number or by name."""
    ordered = sorted(runs, key=lambda run: order({x: run.settings[x] for x in names}))
    return list(dict.fromkeys(settings_label(run, names) for run in ordered))


def _cell(runs: Sequence[Digest], most: int) -> list[str]:
    """Return the lines of a cell: the metric; worst worker, step and bytes; missing runs."""
    done = [run.row for run in runs if run.row.status == COMPLETE]
    states = Counter(run.row.status for run in runs)
    del states[COMPLETE]
    counts = [f"{n} {status}" for status, n in sorted(states.items())]
    if not done:
        return [", ".join(counts) or NONE]

    def mid(name: str) -> float:
        return median(row.number(name) for row in done)

    metrics = [row.metric for row in done]
    lines = [
        format_number(median(metrics))
        + (interval_line(min(metrics), max(metrics)) if most > 1 else ""),
        f"{format_number(mid('metric_worst'), 3)}{since_mark(max(row.since for row in done))}, "
        f"{format_number(mid('step_ms'), 3)} ms "
        f"({format_number(mid('exchange_ms'), 3)}), {format_bytes(mid('bytes_per_step'))}",
    ]
    if done[0].asynchronous:
        slow, fast = (format_number(mid(f"pace_{x}"), 3) for x in ("slowest", "fastest"))
        lines.append(f"{slow} to {fast} steps/s by rank")
    if len(done) < most:
        lines.append(", ".join([f"{len(done)} of {most} runs", *counts]))
    return lines


def _notes(section: Section, most: int) -> list[str]:
    better = "higher" if section.direction == "max" else "lower"
    first = f"first line: {section.metric} of the mean model, {better} is better"
    if most > 1:
        sure = 100 * (1 - 2 ** (1 - most))  # probability 2 * 2^-n that all are on one side
        first += f"; median of {most} seeds [smallest, largest], its {sure:g} % confidence interval"
    return [
        first,
        f"second line: {section.metric} of the worst worker; elapsed time over steps "
        "(exposed exchange of a step); bytes per worker and step"
        + ("; medians over seeds" if most > 1 else ""),
        *since.notes(section),
    ]


def show(pivots: Sequence[Pivot], console: Console) -> None:
    """Print the tables."""
    for pivot in pivots:
        lines = ["", pivot.summary]
        for block in pivot.blocks:
            lines += ["", *([f"{block.heading}:"] if block.heading else []), *_terminal(block)]
        for line in [*lines, "", *pivot.notes]:
            console.print(printable(line), markup=False, soft_wrap=True)


def _terminal(block: Block) -> list[str]:
    """Return the block as lines, names left-aligned and numbers right-aligned."""
    rows = [[_folded(name), *cells] for name, cells in block.rows.items()]
    grid = [[[""], *([title] for title in block.columns)], *rows]
    width = [max(len(line) for row in grid for line in row[i]) for i in range(len(grid[0]))]
    lines = []
    for row in grid:
        for texts in zip_longest(*row, fillvalue=""):
            first = texts[0].ljust(width[0])
            cells = [x.rjust(n) for x, n in zip(texts[1:], width[1:], strict=True)]
            lines.append("  ".join([first, *cells]).rstrip())
    return [lines[0], "-" * (sum(width) + 2 * len(block.columns)), *lines[1:]]


def _folded(name: str) -> list[str]:
    """Break the name of a row after its signs into lines."""
    lines = [""]
    for word in re.findall(r"[^:, ]+[:,]? ?", name):
        if lines[-1].endswith(", ") or len((lines[-1] + word).rstrip()) > LABEL:
            lines.append("")
        lines[-1] += word
    return [line.removesuffix(", ") for line in lines if line]


def markdown(pivots: Sequence[Pivot]) -> str:
    """Return the tables as a Markdown document."""
    parts = []
    for pivot in pivots:
        parts += [printable(pivot.summary), *(_markdown(block) for block in pivot.blocks)]
        parts.append("\n".join(f"- {printable(note)}" for note in pivot.notes))
    return "\n\n".join(parts) + "\n"


def _markdown(block: Block) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(printable(cell).replace("|", "\\|") for cell in cells) + " |"

    lines = [line([block.heading, *block.columns]), "|" + "---|" * (1 + len(block.columns))]
    lines += [
        line([f"`{name}`", *("<br>".join(cell) for cell in cells)])
        for name, cells in block.rows.items()
    ]
    return "\n".join(lines)
