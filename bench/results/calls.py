"""Writer and reader of the result files of bench.collectives, and the derived rows.

    /       attributes of every result, and alpha_ns, bandwidth_Bps, memory_Bps, timer_ns, ci,
            time_s, sync, alpha_spread, bandwidth_spread
    /rows   row: dimension scale; one algorithm at one size per row, see ROWS
    /calls  call, rank: dimension scales; start_ns, duration_ns (call, rank), row (call); a row
            has the calls first, ..., first + n - 1, in the order of time
    /clock  rank: dimension scale; offset_ns, round_trip_ns

A sample is the duration of one call on its slowest rank. Derived numbers are not stored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bench.results import contents
from bench.results.claims import Claim
from bench.results.reader import BrokenFileError, check_schema
from bench.results.resultfile import (
    Change,
    ResultFile,
    add_scale,
    add_table,
    describe,
    encode_strings,
)
from bench.results.rows import ALLREDUCE, YARDSTICK, CollectiveRow
from bench.results.statistics import Interval, median_interval

PROGRAM = "bench.collectives"
ROWS = {
    "algorithm": ("S32", "", "algorithm, or the yardstick beside it"),
    "op": ("S16", "", "collective operation"),
    "dtype": ("S16", "", "type of the elements"),
    "chosen": ("S32", "", "algorithm picked by a selecting one; else empty"),
    "count": ("i8", "1", "elements of the vector"),
    "bytes": ("i8", "B", "size of the vector"),
    "wrong": ("i8", "1", "wrong elements over all ranks; -1: unchecked"),
    "warmup": ("i8", "1", "untimed calls before the first sample"),
    "converged": ("i1", "1", "1: the median's interval is narrow enough, 0: out of time"),
    "messages": ("i8", "1", "messages per call of the busiest rank; -1: unknown"),
    "bytes_sent": ("i8", "B", "bytes handed to MPI per call by that rank; -1: unknown"),
    "first": ("i8", "1", "first call of the row"),
    "n": ("i8", "1", "calls of the row"),
}
"""Dtype, units and long_name of each dataset of /rows."""
NEEDED = ("status", "ranks", "alpha_ns", "bandwidth_Bps", "timer_ns", "binding_flaws")
SKEWED, TIMER = 0.1, 0.01
"""Thresholds of start skew and clock resolution relative to the median."""
UNSTEADY = 0.5
"""Interquartile range of round trips over their median above which the link is unsteady."""
CONTRADICTION = {True: 3, False: 10}
"""Bound over a median that disproves the bound, by whether the algorithm sent messages."""


@dataclass(frozen=True)
class Calls:
    """Rows and their calls: those of a file, or those of one size before they are written."""

    path: Path
    attributes: Mapping[str, Any]
    table: dict[str, NDArray[Any]]
    """Columns of /rows, (rows,) each, by the names of ROWS; texts as str."""
    start_ns: NDArray[np.int64]
    """(calls, ranks) start of each call on the rank's own clock, ns."""
    duration_ns: NDArray[np.int64]
    """(calls, ranks) duration of each call, ns."""
    offset_ns: NDArray[np.int64]
    """(ranks,) lead of each clock over rank 0's, ns."""

    def span(self, row: int) -> slice:
        """Return the slice of the calls of a row."""
        first = int(self.table["first"][row])
        return slice(first, first + int(self.table["n"][row]))

    def rows(self) -> list[CollectiveRow]:
        """Return the rows with every number derived from their calls."""
        library: dict[tuple[str, str, int], float] = {}
        medians = [median_interval(self.slowest(i)) for i in range(len(self.table["n"]))]
        for i, (p50, _, _) in enumerate(medians):
            if self.table["algorithm"][i] == YARDSTICK:
                library[self._kind(i)] = p50 / 1e3
        bounds = self._bounds_ns([p50 for p50, _, _ in medians])
        return [
            self._row(i, median, library.get(self._kind(i), math.nan), bounds[i])
            for i, median in enumerate(medians)
        ]

    def _bounds_ns(self, medians: Sequence[float]) -> list[float]:
        """Return the lower bound of each row, ns; NaN for a size where a row disproves it.

        Algorithms by messages exceed the bound a little at sizes that fit into a cache.
        """
        kinds = list(zip(self.table["op"].tolist(), self.table["bytes"].tolist(), strict=True))
        bounds = {kind: self.bound_ns(*kind) for kind in set(kinds)}
        messages = self.table["messages"].tolist()
        for kind, sent, p50 in zip(kinds, messages, medians, strict=True):
            if bounds[kind] > CONTRADICTION[sent > 0] * p50:
                bounds[kind] = math.nan
        return [bounds[kind] for kind in kinds]

    def slowest(self, row: int) -> NDArray[np.int64]:
        """Return the duration of each call of a row on its slowest rank, (calls,), ns."""
        slowest: NDArray[np.int64] = self.duration_ns[self.span(row)].max(1)
        return slowest

    def _kind(self, row: int) -> tuple[str, str, int]:
        """Return the operation, data type and size of a row."""
        op, dtype, size = (self.table[name][row].item() for name in ("op", "dtype", "bytes"))
        return op, dtype, size

    def _row(self, i: int, median: Interval, library_us: float, bound: float) -> CollectiveRow:
        cells: dict[str, Any] = {name: column[i].item() for name, column in self.table.items()}
        del cells["first"], cells["warmup"]
        converged = cells.pop("converged")
        p, slowest = int(self.attributes["ranks"]), self.slowest(i)
        p50, low, high = median
        p99 = float(np.percentile(slowest, 99, method="inverted_cdf"))
        algbw = cells["bytes"] / p50  # B/ns
        return CollectiveRow(
            **cells,
            ranks=p,
            p50_us=p50 / 1e3,
            ci_lo_us=low / 1e3,
            ci_hi_us=high / 1e3,
            p99_us=p99 / 1e3,
            max_us=float(slowest.max()) / 1e3,
            algbw_GBps=algbw,
            busbw_GBps=algbw * crossing(cells["op"], p),
            bound_percent=100 * bound / p50,
            flags=self._flags(i, p50, converged, bound),
            vs_library=(p50 / 1e3) / library_us,
            bound_us=bound / 1e3,
        )

    def bound_ns(self, op: str, nbytes: int) -> float:
        """Return the lower bound on the time of an operation on nbytes by messages, ns.

        NaN where the larger term depends on a link that was unsteady; files before schema 1.5 do
        not state the spread.
        """
        p = int(self.attributes["ranks"])
        rounds = (p - 1).bit_length()  # ceil(log2 p)
        terms = {
            "alpha": rounds * float(self.attributes["alpha_ns"]),
            "bandwidth": crossing(op, p) * nbytes / float(self.attributes["bandwidth_Bps"]) * 1e9,
        }
        larger = max(terms, key=lambda name: terms[name])
        unsteady = float(self.attributes.get(f"{larger}_spread", 0.0)) > UNSTEADY
        return math.nan if unsteady else terms[larger]

    def _flags(self, i: int, p50: float, converged: int, bound: float) -> str:
        starts = self.start_ns[self.span(i)] - self.offset_ns
        skew = float(np.median(starts.max(1) - starts.min(1)))
        conditions = {
            "!": not converged,
            "s": skew > SKEWED * p50,
            "t": float(self.attributes["timer_ns"]) > TIMER * p50,
            "o": bool(self.attributes["binding_flaws"]),
            "b": math.isnan(bound),
        }
        return "".join(flag for flag, holds in conditions.items() if holds)


def crossing(op: str, p: int) -> float:
    """Return the part of a vector that the busiest link of p ranks carries at least.

    Bus bandwidth is algorithm bandwidth times this factor, as in nccl-tests: the rate of that link
    in an optimal algorithm.
    """
    if op == "broadcast":
        return 1.0
    return (2 if op == ALLREDUCE else 1) * (p - 1) / p


def read_calls(path: str | Path) -> Calls:
    """Read a file of bench.collectives, closed or still being written.

    Errors: BrokenFileError for a file that is not HDF5, is of another program or is incomplete.
    """
    path = Path(path)
    with contents.open_hdf5(path) as file:
        attributes = contents.attributes(file)
        _check_origin(path, attributes)
        rows = {name: contents.column(file, f"rows/{name}") for name in ROWS}
        contents.check_columns("rows", rows, {name: dtype for name, (dtype, *_) in ROWS.items()})
        table = {
            name: np.char.decode(column, "utf-8") if column.dtype.kind == "S" else column
            for name, column in rows.items()
        }
        calls = Calls(
            path=path,
            attributes=attributes,
            table=table,
            start_ns=contents.column(file, "calls/start_ns"),
            duration_ns=contents.column(file, "calls/duration_ns"),
            offset_ns=contents.column(file, "clock/offset_ns"),
        )
    shape = (int(table["n"].sum()), int(attributes["ranks"]))
    if calls.start_ns.shape != shape or calls.duration_ns.shape != shape:
        raise BrokenFileError(
            f"{path}: /calls has the shape {calls.start_ns.shape}, by its rows it must be {shape}"
        )
    return calls


def _check_origin(path: Path, attributes: Mapping[str, Any]) -> None:
    check_schema(path, attributes)
    if attributes.get("program") != PROGRAM:
        raise BrokenFileError(f"{path}: written by {attributes.get('program')!r}, not {PROGRAM}")
    missing = [name for name in NEEDED if name not in attributes]
    if missing:
        raise BrokenFileError(f"{path}: attribute {missing[0]} is missing")


CALLS = {
    "start_ns": (("call", "rank"), "start of the call, clock of the rank"),
    "duration_ns": (("call", "rank"), "duration of the call on the rank"),
    "row": (("call",), "row of the call"),
}
"""Dimensions and long_name of each dataset of /calls."""
CHUNK = 1024
"""Number of calls per chunk."""


class CallsFile(ResultFile):
    """Result file of bench.collectives, written by rank 0. Errors: DiskError."""

    growth = ("rows/row", "rows")

    def __init__(
        self,
        path: Path,
        attributes: Mapping[str, Any],
        offset_ns: NDArray[np.int64],
        round_trip_ns: NDArray[np.int64],
        material: Change = lambda file: None,
        claim: Claim | None = None,
    ) -> None:
        ranks = len(offset_ns)

        def create(file: h5py.File) -> None:
            _create(file, ranks)
            columns = {
                "offset_ns": (("rank",), offset_ns, "ns", "lead of the clock over rank 0's"),
                "round_trip_ns": (
                    ("rank",),
                    round_trip_ns,
                    "ns",
                    "round trip; 0: same clock",
                ),
            }
            add_table(file, "clock", {"rank": np.arange(ranks)}, columns)
            material(file)

        super().__init__(path, {"program": PROGRAM, **attributes}, create, claim)

    def append(self, calls: Calls) -> None:
        """Append the rows and calls and write them to disk."""
        self.change(lambda file: _append(file, calls))


def _create(file: h5py.File, ranks: int) -> None:
    rows, calls = file.create_group("rows"), file.create_group("calls")
    add_scale(rows, "row", np.empty(0, np.int64), grows=True)
    for name, (dtype, units, title) in ROWS.items():
        dataset = rows.create_dataset(name, shape=(0,), maxshape=(None,), chunks=(64,), dtype=dtype)
        describe(dataset, ("row",), units, title)
    add_scale(calls, "call", np.empty(0, np.int64), grows=True)
    add_scale(calls, "rank", np.arange(ranks, dtype=np.int32))
    lengths, chunk = {"call": 0, "rank": ranks}, {"call": CHUNK, "rank": min(64, ranks)}
    for name, (dims, title) in CALLS.items():
        dataset = calls.create_dataset(
            name,
            shape=tuple(lengths[dim] for dim in dims),
            maxshape=tuple(None if dim == "call" else ranks for dim in dims),
            chunks=tuple(chunk[dim] for dim in dims),
            dtype=np.int64,
            shuffle=True,
            compression="gzip",
            compression_opts=1,
        )
        describe(dataset, dims, "ns" if name.endswith("_ns") else "1", title)


def _append(file: h5py.File, calls: Calls) -> None:
    rows, n_rows, n_calls = file["rows"], len(file["rows/row"]), len(file["calls/call"])
    added = len(calls.table["n"])
    columns = calls.table | {"first": calls.table["first"] + n_calls}
    columns["row"] = np.arange(n_rows, n_rows + added)
    spread = {"start_ns": calls.start_ns, "duration_ns": calls.duration_ns}
    spread["row"] = np.repeat(columns["row"], calls.table["n"])
    spread["call"] = np.arange(n_calls, n_calls + len(calls.start_ns))
    for group, values, before in ((rows, columns, n_rows), (file["calls"], spread, n_calls)):
        for name, new in values.items():
            group[name].resize(before + len(new), axis=0)
            group[name][before:] = encode_strings(new)
