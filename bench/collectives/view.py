"""What a person or a script sees of a measurement: what is above, between and below the rows."""

from __future__ import annotations

import shlex
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.collectives.compat import COMPATS
from bench.collectives.config import Config
from bench.collectives.links import Links
from bench.collectives.table import Table, verdict
from bench.common.sizes import format_size
from bench.results.calls import fastest

if TYPE_CHECKING:
    from bench.results.calls import Calls
    from bench.results.rows import CollectiveRow

WIDTH = 120


class View:
    """Lines on stdout, flushed as they come; on rank 0."""

    def __init__(self, config: Config, names: Sequence[str], ranks: int, watched: bool) -> None:
        self._config, self._ranks, self._watched = config, ranks, watched
        self._names = [name for name in config.shown if name in names]
        table = Table(config.sizes, config.itemsize, config.dtype, names)
        self._ours = None if config.compat else table
        self._rows: list[CollectiveRow] = []
        self._classic: list[tuple[CollectiveRow, NDArray[np.int64]]] = []

    def begin(self, lines: Sequence[str]) -> None:
        """Say what is measured and how, then the head of the table."""
        self._print([f"# {part}" for line in lines for part in wrapped(line)])
        if self._ours:
            self._print(self._ours.head())
        elif len(self._names) == 1:
            self._print(self._format.head(self._config, self._names[0], self._ranks))

    def add(self, calls: Calls) -> None:
        """Print the rows of a size."""
        if self._watched:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)
        rows = calls.rows()
        self._rows += rows
        if self._ours:
            self._print(self._ours.rows(rows))
            return
        made = [(row, calls.duration_ns[calls.span(i)]) for i, row in enumerate(rows)]
        made = [(row, durations) for row, durations in made if row.algorithm in self._names]
        self._classic += made
        if len(self._names) == 1:
            self._print([self._format.row(self._config, *one) for one in made])

    def tell(self, nbytes: int, rounds: int, widths: NDArray[np.float64]) -> None:
        """Where a person watches, say how far a size is."""
        if self._watched:
            line = f"{format_size(nbytes)}: {rounds} calls, widest interval {widths.max():.1%}"
            print(f"\r\x1b[2K{line}", end="", file=sys.stderr, flush=True)

    def say(self, line: str) -> None:
        """Print a line that is no row."""
        self._print([f"# {line}"])

    def end(self, path: Path) -> int:
        """Say what came out of it; return how many elements are wrong."""
        several = len(self._names) > 1
        for name in () if self._ours else self._names:
            table = [(row, spans) for row, spans in self._classic if row.algorithm == name]
            if several:
                self._print(self._format.head(self._config, name, self._ranks))
                self._print([self._format.row(self._config, *one) for one in table])
            self._print(self._format.foot(table))
        self.say(f"fastest: {fastest(self._rows)}")
        self.say(verdict(self._rows, self._config.check))
        self.say(f"file {path}")
        report = shlex.join(["python", "-m", "bench.report", str(path), "--html", "report.html"])
        self.say(f"draw it: {report}")
        return sum(max(row.wrong, 0) for row in self._rows)

    @property
    def _format(self) -> Any:
        return COMPATS[self._config.compat]

    @staticmethod
    def _print(lines: Sequence[str]) -> None:
        if lines:
            print("\n".join(lines), flush=True)


def introduction(
    config: Config,
    links: Links,
    ranks: Sequence[Mapping[str, Any]],
    library: str,
    names: Sequence[str],
    notes: Sequence[str],
) -> list[str]:
    """What is measured, on what, and how, a line each."""
    hosts = list(dict.fromkeys(rank["host"] for rank in ranks))
    where = hosts[0] if len(hosts) == 1 else f"{len(hosts)} hosts ({hosts[0]} ... {hosts[-1]})"
    low, high = (format_size(config.sizes[i]) for i in (0, -1))
    last = len(ranks) - 1
    spread = "" if len(hosts) == 1 else "; clocks compared by ping-pong"
    return [
        f"all-reduce, sum, in place, {config.dtype}, {low} to {high} bytes: {len(ranks)} ranks on "
        f"{where}, {library}",
        "algorithms: " + ", ".join(names),
        f"alpha {links.alpha_ns / 1e3:.3f} us, half the round trip of 8 B, ranks 0 and {last}; "
        f"bandwidth {links.bandwidth / 1e9:.3f} GB/s, 4 MiB one way{spread}",
        f"memory {links.memory / 1e9:.1f} GB/s read and written by a host's ranks at once; "
        "shared_memory moves 2 p S bytes through it",
        f"stop: every median's 95 % interval within {100 * config.ci:g} %, "
        f"{config.iterations} calls or more; or {config.time_s:g} s a size",
        f"a sample: slowest rank, one call after an untimed write of the vector and a barrier; "
        f"{config.warmup} warm-up calls",
        "rounds of one call each, order drawn anew (seed "
        f"{config.seed}); sums are {'checked' if config.check else 'not checked'}, untimed",
        "%bound: max(ceil(log2 p) alpha, 2(p-1)/p S/B), what messages need, over p50; "
        "shared memory can exceed 100",
        "flags: ! interval not reached, s start skew > 10 % of p50, t clock > 1 %, o more ranks "
        "than cores; GB = 10^9 B",
        *(f"note: {note}" for note in notes),
    ]


def wrapped(text: str) -> list[str]:
    """The text in lines that fit behind `# `."""
    return textwrap.wrap(text, WIDTH - 2, subsequent_indent="  ")
