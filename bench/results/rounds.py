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

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bench.results import contents
from bench.results.claims import Claim
from bench.results.reader import BrokenFileError, check_schema
from bench.results.resultfile import CHUNK, Change, ResultFile, add_scale, append_rows, describe

Curve = NDArray[np.float64]
COUNTS = ("duration_ns", "bytes_sent", "bytes_copied", "messages")
"""Counters of every rank in every round."""

TABLES: dict[str, dict[str, tuple[tuple[str, ...], Any, str, str]]] = {
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
"""Dimensions, dtype, units and long_name by group and dataset. The first dimension grows."""
NEEDED = ("status", "workers", "ranks", "dimension", "tolerance", "seed", "params_json")
"""Attributes required by a reader."""


def scales(group: str) -> list[str]:
    """Return the dimensions of a group, the growing one first."""
    table = TABLES[group.strip("/")]
    return list(dict.fromkeys(dim for dims, *_ in table.values() for dim in dims))


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


class RoundsFile(ResultFile):
    """Result file of bench.consensus, written by rank 0. Errors: DiskError.

    material: adds the data available before the first round.
    """

    growth = ("cases/case", "topologies")

    def __init__(
        self,
        path: Path,
        ranks: int,
        attributes: Mapping[str, Any],
        material: Change,
        claim: Claim | None = None,
    ) -> None:
        def create(file: h5py.File) -> None:
            for group in TABLES:
                _create(file.create_group(group), ranks)
            material(file)

        super().__init__(path, attributes, create, claim)

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


def _create(group: h5py.Group, ranks: int) -> None:
    growing, *fixed_dimensions = scales(group.name)
    add_scale(group, growing, np.empty(0, np.int64), grows=True)
    for name in fixed_dimensions:
        add_scale(group, name, np.arange(ranks, dtype=np.int32))
    for name, (dims, dtype, units, title) in TABLES[group.name.strip("/")].items():
        dataset = group.create_dataset(
            name,
            shape=(0, ranks)[: len(dims)],
            maxshape=(None, ranks)[: len(dims)],
            chunks=(CHUNK, min(64, ranks))[: len(dims)],
            dtype=dtype,
            shuffle=True,
            compression="gzip",
            compression_opts=1,
        )
        describe(dataset, dims, units, title)


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
    with contents.open_hdf5(path) as file:
        attributes = contents.attributes(file)
        check_schema(path, attributes)
        tables = {
            group: {
                name: contents.column(file, f"{group}/{name}")
                for name in (*scales(group)[:1], *table)
            }
            for group, table in TABLES.items()
        }
        for group, columns in tables.items():
            contents.check_columns(
                group, columns, {x: dtype for x, (_, dtype, *_) in TABLES[group].items()}
            )
    result = Rounds(path, attributes, tables["cases"], tables["rounds"], tables["redraws"])
    flaw = _flaw(result, tables)
    if flaw:
        raise BrokenFileError(f"{path}: {flaw}")
    return result


def _flaw(result: Rounds, tables: Mapping[str, Mapping[str, NDArray[Any]]]) -> str:
    """Return the first flaw of a result; empty for a valid one."""
    for name in NEEDED:
        if name not in result.attributes:
            return f"attribute {name} is missing"
    for group, columns in tables.items():
        lengths = {len(column) for column in columns.values()}
        if len(lengths) > 1 or any(columns[x].ndim != len(y[0]) for x, y in TABLES[group].items()):
            return f"the columns of /{group} differ in length"
    rounds = result.cases["rounds"]
    ends = np.cumsum(rounds)
    whole = int(ends[-1]) if len(ends) else 0
    if (
        (rounds < 1).any()
        or (result.cases["first"] != ends - rounds).any()
        or whole != len(result.rounds["k"])
    ):
        return "/cases and /rounds do not fit together"
    return ""


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
