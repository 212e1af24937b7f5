"""Writer and reader of the result files of bench.chaos, and the numbers that follow from a run.

/runs      run: dimension scale; the columns of RUNS, a row per strategy and plan
/faults    fault: dimension scale; the columns of FAULTS, the faults of all runs in turn
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bench.results import tables
from bench.results.guard import BrokenFileError
from bench.results.resultfile import append_rows
from bench.results.rows import ChaosRow
from bench.results.schema import COMPLETE, Table
from bench.results.tables import Tables, TablesFile, along

PACE = 100
"""Number of steps whose mean duration counts the steps that were lost after them."""
UNKNOWN = -1
"""Value of a time that was not observed."""
RUNS: Table = {
    "strategy": ("S32", "", "way to outlast faults; calm: the run without any"),
    "plan": ("i8", "1", "plan of faults, counted from 1"),
    "status": ("S16", "", "complete, or failed"),
    "launches": ("i8", "1", "number of launches by mpirun"),
    "ranks_lost": ("i8", "1", "ranks that the other ranks lost, in /lost of the run's file"),
    "steps": ("i8", "1", "steps of the run"),
    "useful_ns": ("i8", "ns", "training time of these steps, each once, without evaluations"),
    "elapsed_ns": ("i8", "ns", "time from the first evaluation to the end of the last step"),
    "metric": ("f8", "1", "final metric of the mean model"),
    "participation": ("f8", "1", "share of the workers that took part, mean over the steps"),
    "same_bits": ("i1", "1", "1 if the final parameters are those of the calm run, else 0"),
}
FAULTS: Table = {
    "run": ("i8", "1", "row of /runs"),
    "kind": ("S16", "", "kind of fault"),
    "rank": ("i8", "1", "rank of the launch"),
    "step": ("i8", "1", "step in which the plan has it"),
    "struck_ns": ("i8", "ns", "time since the first evaluation; -1 if it did not strike"),
    "detected_ns": ("i8", "ns", "time from the fault to its detection; -1 if there was none"),
    "recovered_ns": ("i8", "ns", "time from the fault to the end of the next step; or -1"),
    "steps_lost": ("i8", "1", "steps that were computed again"),
}
TABLES: Tables = {"runs": along("run", RUNS), "faults": along("fault", FAULTS)}
NEEDED = ("status", "ranks", "seed", "params_json", "metric_name", "metric_direction")
"""Attributes required by a reader."""


def recovery(
    starts: NDArray[np.int64], ends: NDArray[np.int64], began_ns: int, struck_ns: int
) -> tuple[int, int]:
    """Return the steps lost by a fault, and the time from it to the end of the next step, ns.

    starts, ends: (steps,) int64, ns, of the steps that were kept, on the clock of the other times.
    began_ns: start of the run. The number of lost steps is the time between the last kept step and
    the fault, over the mean duration of the PACE kept steps before. A step that was under way at
    the fault and was kept is not lost. The time to the next step is UNKNOWN if there is none.
    """
    before, after = np.searchsorted(ends, struck_ns, "right"), np.searchsorted(starts, struck_ns)
    next_ns = int(ends[after]) - struck_ns if after < len(ends) else UNKNOWN
    if before < after:
        return 0, next_ns
    near = slice(max(0, before - PACE), max(before, PACE))
    step_ns = max(1.0, float((ends - starts)[near].mean()))
    last_ns = int(ends[before - 1]) if before else began_ns
    return max(0, int((struck_ns - last_ns) / step_ns)), next_ns


class ChaosFile(TablesFile):
    """Result file of bench.chaos. Errors: DiskError."""

    growth = ("runs/run", "runs")
    tables = TABLES

    def add(self, run: Mapping[str, Any], faults: Sequence[Mapping[str, Any]]) -> None:
        """Add a run with its faults: a value for every name of RUNS, and of FAULTS except run."""

        def change(file: h5py.File) -> None:
            number = len(file["runs/run"])
            append_rows(file["runs"], "run", _columns(RUNS, [run]))
            if faults:
                rows = [{**fault, "run": number} for fault in faults]
                append_rows(file["faults"], "fault", _columns(FAULTS, rows))

        self.change(change)


def _columns(table: Table, rows: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
    return {
        name: np.array([row[name] for row in rows], dtype) for name, (dtype, *_) in table.items()
    }


@dataclass(frozen=True)
class Chaos:
    """Result of bench.chaos in memory."""

    path: Path
    attributes: dict[str, Any]
    runs: dict[str, NDArray[Any]]
    faults: dict[str, NDArray[Any]]

    def rows(self) -> list[ChaosRow]:
        """Return the derived numbers of each run."""
        return [self._row(run) for run in range(len(self.runs["run"]))]

    def _row(self, run: int) -> ChaosRow:
        cells = {name: values[run] for name, values in self.runs.items()}
        struck = (self.faults["run"] == run) & (self.faults["struck_ns"] >= 0)
        faults = {name: values[struck] for name, values in self.faults.items()}
        lost, steps = int(faults["steps_lost"].sum()), int(cells["steps"])
        elapsed = float(cells["elapsed_ns"])
        return ChaosRow(
            strategy=cells["strategy"].decode(),
            plan=int(cells["plan"]),
            status=cells["status"].decode(),
            faults=int(struck.sum()),
            launches=int(cells["launches"]),
            ranks_lost=int(cells["ranks_lost"]),
            steps=steps,
            steps_lost=lost,
            goodput=steps / (steps + lost) if steps else math.nan,
            useful_share=float(cells["useful_ns"]) / elapsed if elapsed > 0 else math.nan,
            elapsed_s=elapsed / 1e9 if elapsed > 0 else math.nan,
            detection_ms=_median_ms(faults["detected_ns"]),
            recovery_ms=_median_ms(faults["recovered_ns"]),
            metric=float(cells["metric"]),
            participation=float(cells["participation"]),
            same_bits=bool(cells["same_bits"]),
        )


def _median_ms(times: NDArray[np.int64]) -> float:
    """Return the median of the known times, ns, in ms; NaN without any."""
    known = times[times != UNKNOWN]
    return float(np.median(known)) / 1e6 if len(known) else math.nan


def read_chaos(path: str | Path) -> Chaos:
    """Read a result of bench.chaos, closed or still being written.

    Errors: BrokenFileError for a file that is not HDF5, is of another schema or is incomplete.
    """
    path = Path(path)
    attributes, arrays = tables.read(path, TABLES, NEEDED)
    owners = arrays["faults"]["run"]
    if len(owners) and not 0 <= owners.min() <= owners.max() < len(arrays["runs"]["run"]):
        raise BrokenFileError(f"{path}: /runs and /faults do not fit together")
    return Chaos(path, attributes, arrays["runs"], arrays["faults"])


def run_flaws(result: Chaos) -> Iterator[str]:
    """Yield the contradictions within the runs and their faults."""
    for run, status in enumerate(result.runs["status"]):
        times = [int(result.runs[name][run]) for name in ("useful_ns", "elapsed_ns")]
        if status.decode() == COMPLETE and not 0 < times[0] <= times[1]:
            yield f"runs/useful_ns of run {run} is not in (0, elapsed_ns]"
    detected, recovered = result.faults["detected_ns"], result.faults["recovered_ns"]
    if ((detected > recovered) & (recovered != UNKNOWN)).any():
        yield "faults/detected_ns is after recovered_ns"
    if (result.faults["steps_lost"] < 0).any():
        yield "faults/steps_lost is negative"
