"""What rank 0 keeps of a measurement: the result file, the lines on stdout, the CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.collectives.config import Config
from bench.collectives.links import Links
from bench.collectives.onesize import Measured
from bench.collectives.opening import attributes, open_file
from bench.collectives.view import View, introduction
from bench.common.files import write_whole
from bench.results.calls import read_calls
from bench.results.rows import CollectiveRow
from bench.results.schema import COMPLETE
from bench.session.terminal import is_interactive

CSV = (
    *("op", "algorithm", "ranks", "bytes", "dtype", "n", "p50_us", "ci_lo_us", "ci_hi_us"),
    *("p99_us", "algbw_GBps", "busbw_GBps", "wrong", "count", "max_us", "bound_percent"),
    *("vs_library", "flags", "messages", "bytes_sent", "chosen"),
)
"""The columns of --csv."""


class Record:
    """One measurement, written and shown as it goes; on rank 0."""

    def __init__(
        self,
        config: Config,
        path: Path,
        argv: Sequence[str],
        ranks: Sequence[dict[str, Any]],
        flaws: Sequence[str],
        links: Links,
    ) -> None:
        self._config, self._ranks, self._flaws, self._links = config, ranks, flaws, links
        self._attributes = attributes(config, argv, ranks, flaws, links)
        self._file = open_file(path, self._attributes, ranks, links)

    def begin(self, names: Sequence[str], notes: Sequence[str]) -> None:
        """Say what is measured and how; names: the candidates that are."""
        from mpi4py import MPI

        library = MPI.Get_library_version().partition(",")[0].strip("\x00 \n")
        notes = [*notes, *self._flaws]
        self._view = View(self._config, names, len(self._ranks), is_interactive())
        self._view.begin(
            introduction(self._config, self._links, self._ranks, library, names, notes)
        )

    def tell(self, nbytes: int, rounds: int, widths: NDArray[np.float64]) -> None:
        """Say how far a size is."""
        self._view.tell(nbytes, rounds, widths)

    def add(self, measured: Measured) -> None:
        """Write and show a size."""
        calls = measured.calls(self._file.path, self._attributes, self._links.offset_ns)
        self._file.append(calls)
        self._view.add(calls)
        for name, reason in measured.refused.items():
            self._view.say(f"note: {name} is left out here: {reason}")

    def close(self) -> int:
        """Close the file, write the CSV, say what came out; return how many elements are wrong."""
        path = self._file.path
        self._file.close(COMPLETE, {})
        if self._config.csv:
            write_whole(Path(self._config.csv), csv_text(read_calls(path).rows()))
        wrong = self._view.end(path)
        if self._config.csv:
            self._view.say(f"csv {self._config.csv}")
        return wrong


def csv_text(rows: Sequence[CollectiveRow]) -> str:
    """The rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        record = row.record()
        writer.writerow({name: record[name] for name in CSV})
    return text.getvalue()
