"""Printed output of a measurement: introduction, rows of at most 120 columns, footer."""

from __future__ import annotations

import shlex
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.collectives.compat import COMPATS, Classic, Line
from bench.collectives.config import OUT_OF_PLACE, Config
from bench.collectives.links import Links
from bench.common.sizes import format_size
from bench.common.text import counted, figure, percent, printable
from bench.results.calls import UNSTEADY
from bench.results.rows import ALLREDUCE, CollectiveRow, half_width, smallest_medians

if TYPE_CHECKING:
    from bench.results.calls import Calls

WIDTH = 120
FACTORS = {
    ALLREDUCE: "2(p-1)/p ",
    "reduce_scatter": "(p-1)/p ",
    "all_gather": "(p-1)/p ",
    "broadcast": "",
    "all_to_all": "(p-1)/p ",
}
"""Factor of S/B in the lower bound of an operation, with S the bytes of the vector."""
SUBJECTS = {
    "reduce_scatter": "reduce-scatter, sum, of the vector of S bytes of every rank into p chunks",
    "all_gather": "all-gather, of p chunks into a vector of S bytes",
    "broadcast": "broadcast, of S bytes from rank 0",
    "all_to_all": "all-to-all, of the p chunks of every rank's vector of S bytes",
}
MOST_WRONG = 4
"""Maximum number of wrong rows that the verdict names."""

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
"""Title -> second line of the title, width, text of a row; size and flags are the outer columns."""


class Table:
    """Layout of the suite's own rows, one for each algorithm and size."""

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

    def header(self) -> list[str]:
        """Return the two lines of titles."""
        titles = {title: title for title in COLUMNS}
        units = {title: unit for title, (unit, _, _) in COLUMNS.items()}
        return [self._line("#size(B)", titles, "flags"), self._line("#", units, "")]

    def rows(self, rows: Sequence[CollectiveRow]) -> list[str]:
        """Return one line for each row, then the choice of each algorithm that selects another."""
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
    """Return the outcome of the validation of all results."""
    if not checked:
        return "#wrong: not checked (-c 0)"
    wrong = [row for row in rows if row.wrong]
    if not wrong:
        return f"#wrong: 0, every result exact in {counted(len(rows), 'row')}"
    names = [f"{row.algorithm} at {format_size(row.bytes)}" for row in wrong[:MOST_WRONG]]
    more = f" and {len(wrong) - MOST_WRONG} more" if len(wrong) > MOST_WRONG else ""
    elements = sum(row.wrong for row in wrong)
    return f"#wrong: {counted(elements, 'element')}, {', '.join(names)}{more}: exit code 1"


class View:
    """Lines on stdout, flushed at once, and a progress line on stderr; on rank 0.

    names: candidates that are measured. ranks: number of ranks. interactive: True to show progress.
    """

    def __init__(self, config: Config, names: Sequence[str], ranks: int, interactive: bool) -> None:
        self._config, self._ranks, self._interactive = config, ranks, interactive
        self._names = [name for name in config.shown if name in names]
        table = Table(config.sizes, config.itemsize, config.dtype, names)
        self._table = None if config.compat else table
        self._rows: list[CollectiveRow] = []
        self._classic: dict[str, list[Line]] = {name: [] for name in self._names}

    def begin(self, lines: Sequence[str]) -> None:
        """Print the introduction and the header of the table."""
        self._print([f"# {part}" for line in lines for part in wrapped(line)])
        if self._table:
            self._print(self._table.header())
        elif len(self._names) == 1:
            self._print(self._format.header(self._config, self._names[0], self._ranks))

    def add(self, calls: Calls) -> None:
        """Print the rows of one size."""
        if self._interactive:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)
        rows = calls.rows()
        self._rows += rows
        if self._table:
            self._print(self._table.rows(rows))
            return
        entries = {
            row.algorithm: (row, calls.duration_ns[calls.span(i)]) for i, row in enumerate(rows)
        }
        for name, lines in self._classic.items():
            line = [entries[x] for x in (name, name + OUT_OF_PLACE) if x in entries]
            if line:
                lines.append(line)
                self._print([self._format.row(self._config, line)] * (len(self._names) == 1))

    def progress(self, nbytes: int, rounds: int, widths: NDArray[np.float64]) -> None:
        """Show the progress of a size on an interactive terminal."""
        if self._interactive:
            calls = counted(rounds, "call")
            line = f"{format_size(nbytes)}: {calls}, widest interval {widths.max():.1%}"
            print(f"\r\x1b[2K{line}", end="", file=sys.stderr, flush=True)

    def print_note(self, line: str) -> None:
        """Print a comment line."""
        self._print([f"# {line}"])

    def end(self, path: Path) -> int:
        """Print the footer; return the number of wrong elements."""
        several = len(self._names) > 1
        for name, lines in self._classic.items() if not self._table else ():
            if several:
                self._print(self._format.header(self._config, name, self._ranks))
                self._print([self._format.row(self._config, line) for line in lines])
            self._print(self._format.footer(lines))
        in_place = [row for row in self._rows if not row.algorithm.endswith(OUT_OF_PLACE)]
        self.print_note(f"smallest median by size: {smallest_medians(in_place)}")
        self.print_note(verdict(self._rows, self._config.check))
        self.print_note(f"file {path}")
        report = shlex.join(["python", "-m", "bench.report", str(path), "--html", "report.html"])
        self.print_note(f"draw it: {report}")
        return sum(max(row.wrong, 0) for row in self._rows)

    @property
    def _format(self) -> Classic:
        return COMPATS[self._config.compat]

    @staticmethod
    def _print(lines: Sequence[str]) -> None:
        if lines:
            print("\n".join(map(printable, "\n".join(lines).split("\n"))), flush=True)


def introduction(
    config: Config,
    links: Links,
    ranks: Sequence[Mapping[str, Any]],
    library: str,
    names: Sequence[str],
    notes: Sequence[str],
) -> list[str]:
    """Return the lines above the table: subject, machine and method of the measurement."""
    hosts = list(dict.fromkeys(rank["host"] for rank in ranks))
    where = hosts[0] if len(hosts) == 1 else f"{len(hosts)} hosts ({hosts[0]} ... {hosts[-1]})"
    low, high = (format_size(config.sizes[i]) for i in (0, -1))
    last = len(ranks) - 1
    factor = FACTORS[config.op]
    spread = "" if len(hosts) == 1 else "; clocks compared by ping-pong"
    return [
        f"{_subject(config)}, {config.dtype}, {low} to {high} bytes: "
        f"{counted(len(ranks), 'rank')} on {where}, {library}",
        "algorithms: " + ", ".join(names),
        f"alpha {links.alpha_ns / 1e3:.3f} us{_unsteady(links.alpha_spread)}, half the round trip "
        f"of 8 B, ranks 0 and {last}; bandwidth {links.bandwidth / 1e9:.3f} GB/s"
        f"{_unsteady(links.bandwidth_spread)}, 4 MiB one way{spread}",
        f"memory {links.memory / 1e9:.1f} GB/s read and written by a host's ranks at once"
        + "; shared_memory moves 2 p S bytes through it" * (config.op == ALLREDUCE),
        f"stop: every median's 95 % interval within {100 * config.ci:g} %, "
        f"{counted(config.iterations, 'call')} or more; or {config.time_s:g} s per size",
        f"a sample: slowest rank, one call after an untimed write of the vector and a barrier; "
        f"{counted(config.warmup, 'warm-up call')}",
        f"rounds of one call each in random order (seed {config.seed}); results are "
        f"{'checked' if config.check else 'not checked'}, untimed",
        f"%bound: max(ceil(log2 p) alpha, {factor}S/B), the lower bound for messages, over p50"
        + "; shared memory can exceed 100" * (config.op == ALLREDUCE),
        "flags: ! interval not reached, s start skew > 10 % of p50, t clock > 1 %, o more ranks "
        "than cores, b no %bound: alpha or bandwidth was unsteady, or a row disproves it; "
        "GB = 10^9 B",
        *(f"note: {note}" for note in notes),
    ]


def _subject(config: Config) -> str:
    """Return what is measured: the operation, and the part of the vector that a rank has."""
    if config.op == ALLREDUCE:
        out = " and out of place" * (config.compat == "nccl")
        return f"all-reduce, sum, in place{out}"
    return SUBJECTS[config.op]


def _unsteady(spread: float) -> str:
    """Return a remark for a link whose round trips spread too far for a bound."""
    return f" (unsteady, interquartile range {percent(spread)})" if spread > UNSTEADY else ""


def wrapped(text: str) -> list[str]:
    """Return the text in lines that fit behind `# `."""
    return textwrap.wrap(text, WIDTH - 2, subsequent_indent="  ")
