"""Writer and reader of the result files of bench.simulate.

/cases     case: dimension scale; algorithm, workers, cycle, first, steps
/steps     step (the steps of all cases in turn): dimension scale; case, k, elapsed_ns, compute_ns,
           wait_ns, from the start of the case to the end of the step; with the attribute engine:
           simgrid also model_ns
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bench.results import tables
from bench.results.guard import BrokenFileError
from bench.results.resultfile import append_rows
from bench.results.rows import SimulationRow
from bench.results.schema import SIMGRID, clock_of, engine_of
from bench.results.tables import Tables, TablesFile, along

TIMES = ("elapsed_ns", "compute_ns", "wait_ns")
TABLES: Tables = {
    "cases": along(
        "case",
        {
            "algorithm": ("S256", "", "algorithm with its options"),
            "workers": ("i8", "1", "number of workers, or of stages of a pipeline"),
            "cycle": ("i8", "1", "steps after which the pattern of exchanges repeats"),
            "first": ("i8", "1", "first row of the case in /steps"),
            "steps": ("i8", "1", "number of steps of the case"),
        },
    ),
    "steps": along(
        "step",
        {
            "case": ("i8", "1", "row of /cases"),
            "k": ("i8", "1", "step of the case, counted from 1"),
            "elapsed_ns": ("i8", "ns", "time of the slowest worker after the step"),
            "compute_ns": ("i8", "ns", "time of computing until then, mean over workers"),
            "wait_ns": ("i8", "ns", "time of waiting until then, mean over workers"),
        },
    ),
}
SIMGRID_TABLES: Tables = {
    **TABLES,
    "steps": {
        **TABLES["steps"],
        **along("step", {"model_ns": ("i8", "ns", "elapsed_ns of the same case, model clock")}),
    },
}
"""Tables of a file of the engine SIMGRID."""
NEEDED = ("status", "ranks", "parameters", "seed", "params_json")
"""Attributes required by a reader."""


class SimulationFile(TablesFile):
    """Result file of bench.simulate. Errors: DiskError."""

    growth = ("cases/case", "cases")
    tables = TABLES

    def add(
        self,
        algorithm: str,
        workers: int,
        cycle: int,
        times: NDArray[np.int64],
        **more: NDArray[np.int64],
    ) -> None:
        """Add a case. times: (steps, 3), ns, columns TIMES. more: further columns, (steps,)."""

        def change(file: h5py.File) -> None:
            case, first, n = len(file["cases/case"]), len(file["steps/step"]), len(times)
            cells = {"workers": workers, "cycle": cycle, "first": first, "steps": n}
            columns: dict[str, NDArray[Any]] = {x: np.array([y]) for x, y in cells.items()}
            columns["algorithm"] = np.array([algorithm.encode()])
            append_rows(file["cases"], "case", columns)
            columns = {"case": np.full(n, case), "k": np.arange(1, n + 1)}
            columns |= dict(zip(TIMES, times.T, strict=True))
            append_rows(file["steps"], "step", columns | more)

        self.change(change)


class SimGridFile(SimulationFile):
    """Result file of bench.simulate --engine simgrid. Errors: DiskError."""

    tables = SIMGRID_TABLES


def tables_of(attributes: Mapping[str, Any]) -> Tables:
    """Return the tables of a file with these attributes."""
    return SIMGRID_TABLES if engine_of(attributes) == SIMGRID else TABLES


@dataclass(frozen=True)
class Simulation:
    """Result of bench.simulate in memory."""

    path: Path
    attributes: dict[str, Any]
    cases: dict[str, NDArray[Any]]
    steps: dict[str, NDArray[Any]]

    @cached_property
    def pipelines(self) -> bool:
        """Return True if the cases are pipelines, with a number of stages instead of workers."""
        return "pipelines" in json.loads(self.attributes["params_json"])

    def span(self, case: int) -> slice:
        """Return the slice of the steps of a case."""
        first = int(self.cases["first"][case])
        return slice(first, first + int(self.cases["steps"][case]))

    def rows(self) -> list[SimulationRow]:
        """Return the derived numbers of each case."""
        return [self._row(case) for case in range(len(self.cases["workers"]))]

    def _row(self, case: int) -> SimulationRow:
        cells = {name: values[case] for name, values in self.cases.items()}
        total, cycle = int(cells["steps"]), int(cells["cycle"])
        n = total // cycle * cycle or total
        elapsed, compute, wait = (float(self.steps[x][self.span(case)][n - 1]) for x in TIMES)
        model = self.steps.get("model_ns", self.steps["elapsed_ns"])
        return SimulationRow(
            algorithm=cells["algorithm"].decode(),
            workers=int(cells["workers"]),
            stages=int(cells["workers"]) if self.pipelines else 0,
            clock=clock_of(self.attributes),
            engine=engine_of(self.attributes),
            platform=str(self.attributes.get("platform", "")),
            steps=n,
            step_ms=elapsed / n / 1e6,
            compute_ms=compute / n / 1e6,
            exposed_ms=wait / n / 1e6,
            efficiency=compute / elapsed if elapsed else 1.0,
            model_step_ms=float(model[self.span(case)][n - 1]) / n / 1e6,
            elapsed_s=float(self.steps["elapsed_ns"][self.span(case)][-1]) / 1e9,
        )


def read_simulation(path: str | Path) -> Simulation:
    """Read a result of bench.simulate, closed or still being written.

    Errors: BrokenFileError for a file that is not HDF5, is of another schema or is incomplete.
    """
    path = Path(path)
    attributes, arrays = tables.read(path, tables_of, NEEDED)
    tables.check_spans(path, arrays, "steps", "steps")
    if (arrays["cases"]["cycle"] < 1).any():
        raise BrokenFileError(f"{path}: cases/cycle has values below 1")
    return Simulation(path, attributes, arrays["cases"], arrays["steps"])


def step_flaws(result: Simulation) -> Iterator[str]:
    """Yield the contradictions between the cases and their steps."""
    for case in range(len(result.cases["workers"])):
        steps = {name: values[result.span(case)] for name, values in result.steps.items()}
        if (steps["k"] != np.arange(1, len(steps["k"]) + 1)).any():
            yield f"the steps of case {case} are not counted from 1"
        for name in sorted(steps.keys() - {"case", "k", "step"}):
            if (np.diff(steps[name], prepend=0) < 0).any():
                yield f"steps/{name} of case {case} decreases"
