"""Writer and reader of the result files of bench.consensus.

/cases     case: dimension scale; topology, period, degree_max, theory_factor, first, rounds,
           reached
/rounds    round (the rounds of all cases in turn), rank: dimension scales; case, k, error,
           duration_ns, bytes_sent, bytes_copied, messages
/redraws   redraw: dimension scale; case, k, error of more curves of random topologies; each curve
           has the same start and other random links, its k counts from 1, and its error is that
           of the weighted values x_i
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bench.results import tables
from bench.results.resultfile import append_rows
from bench.results.tables import Tables, TablesFile

Curve = NDArray[np.float64]
COUNTS = ("duration_ns", "bytes_sent", "bytes_copied", "messages")
"""Counters of every rank in every round."""

TABLES: Tables = {
    "cases": {
        "topology": (("case",), "S128", "", "name of the topology with its options"),
        "period": (("case",), np.int64, "1", "rounds until the links repeat; 0: random, never"),
        "degree_max": (("case",), np.int64, "1", "largest number of out-neighbours in a round"),
        "theory_factor": (("case",), np.float64, "1", "contraction factor per round in theory"),
        "first": (("case",), np.int64, "1", "first row of the case in /rounds"),
        "rounds": (("case",), np.int64, "1", "number of rounds of the case"),
        "reached": (("case",), np.uint8, "1", "1 if the error came down to the tolerance, else 0"),
    },
    "rounds": {
        "case": (("round",), np.int64, "1", "row of /cases"),
        "k": (("round",), np.int64, "1", "round of the case, counted from 1"),
        "error": (("round",), np.float64, "1", "consensus error after the round, 1 at the start"),
        "duration_ns": (("round", "rank"), np.int64, "ns", "duration of the round on the rank"),
        "bytes_sent": (("round", "rank"), np.int64, "B", "bytes handed to MPI for other ranks"),
        "bytes_copied": (
            ("round", "rank"),
            np.int64,
            "B",
            "bytes copied from workers of the rank",
        ),
        "messages": (("round", "rank"), np.int64, "1", "messages handed to MPI"),
    },
    "redraws": {
        "case": (("redraw",), np.int64, "1", "row of /cases"),
        "k": (("redraw",), np.int64, "1", "round of the curve, counted from 1"),
        "error": (
            ("redraw",),
            np.float64,
            "1",
            "rms of |x_i - w_i mean| after it, 1 at the start",
        ),
    },
}
NEEDED = ("status", "workers", "ranks", "dimension", "tolerance", "seed", "params_json")
"""Attributes required by a reader."""


@dataclass(frozen=True)
class Case:
    """Measurement of one topology."""

    topology: str
    period: int
    degree_max: int
    theory_factor: float
    reached: bool
    error: Curve
    """(n,) consensus error after each round, relative to the start."""
    counts: NDArray[np.int64]
    """(4, n, ranks) one table for each name of COUNTS."""
    redraws: list[Curve] = field(default_factory=list)


class RoundsFile(TablesFile):
    """Result file of bench.consensus, written by rank 0. Errors: DiskError."""

    growth = ("cases/case", "topologies")
    tables = TABLES

    def add(self, case: Case) -> None:
        """Add a case to the file."""

        def change(file: h5py.File) -> None:
            index, first = len(file["cases/case"]), len(file["rounds/round"])
            cells: dict[str, Any] = {"first": first, "rounds": len(case.error)}
            cells["topology"] = case.topology.encode()
            cells |= {key: getattr(case, key) for key in TABLES["cases"] if key not in cells}
            append_rows(
                file["cases"], "case", {key: np.array([cell]) for key, cell in cells.items()}
            )
            counts = dict(zip(COUNTS, case.counts, strict=True))
            append_rows(file["rounds"], "round", _columns(index, [case.error]) | counts)
            if case.redraws:
                append_rows(file["redraws"], "redraw", _columns(index, case.redraws))

        self.change(change)


def _columns(index: int, curves: list[Curve]) -> dict[str, NDArray[Any]]:
    k = np.concatenate([np.arange(1, len(curve) + 1) for curve in curves])
    return {"case": np.full(len(k), index), "k": k, "error": np.concatenate(curves)}


@dataclass(frozen=True)
class Rounds:
    """Result of bench.consensus in memory."""

    path: Path
    attributes: dict[str, Any]
    cases: dict[str, NDArray[Any]]
    rounds: dict[str, NDArray[Any]]
    redraws: dict[str, NDArray[Any]]

    def span(self, case: int) -> slice:
        """Return the slice of the rounds of a case."""
        first = int(self.cases["first"][case])
        return slice(first, first + int(self.cases["rounds"][case]))

    def curves(self, case: int) -> list[Curve]:
        """Return the error curve of a case, then those of its redraws."""
        mask = self.redraws["case"] == case
        begins = np.flatnonzero(self.redraws["k"][mask] == 1)
        redraws = np.split(self.redraws["error"][mask], begins)[1:]
        return [self.rounds["error"][self.span(case)], *redraws]


def read_rounds(path: str | Path) -> Rounds:
    """Read a result of bench.consensus, closed or still being written.

    Errors: BrokenFileError for a file that is not HDF5, is of another schema or is incomplete.
    """
    path = Path(path)
    attributes, arrays = tables.read(path, TABLES, NEEDED)
    tables.check_spans(path, arrays, "rounds", "rounds")
    return Rounds(path, attributes, arrays["cases"], arrays["rounds"], arrays["redraws"])


def round_flaws(result: Rounds) -> Iterator[str]:
    """Yield the contradictions between the cases and their rounds."""
    for case, reached in enumerate(result.cases["reached"]):
        error = result.rounds["error"][result.span(case)]
        if bool(reached) != bool(error[-1] <= float(result.attributes["tolerance"])):
            claim = "reached" if reached else "not reached"
            yield f"case {case} is marked as {claim}, but its errors contradict it"
        if (result.rounds["k"][result.span(case)] != np.arange(1, len(error) + 1)).any():
            yield f"the rounds of case {case} are not counted from 1"
    if (result.rounds["duration_ns"] < 0).any():
        yield "rounds/duration_ns has values below 0"
