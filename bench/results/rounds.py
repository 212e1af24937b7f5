"""The result file of bench.consensus, written and read; see `rounds_schema` for its layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bench.results import contents
from bench.results.fit import Curve
from bench.results.reader import BrokenFileError, check_schema
from bench.results.resultfile import CHUNK, Change, ResultFile, add_scale, describe
from bench.results.rounds_schema import COUNTS, NEEDED, TABLES, Case, scales


class RoundsFile(ResultFile):
    """The result of bench.consensus, written by rank 0. Errors: DiskError.

    material: adds what is known before the first round.
    """

    holds = ("cases/case", "topologies")

    def __init__(
        self, path: Path, ranks: int, attributes: Mapping[str, Any], material: Change
    ) -> None:
        def create(file: h5py.File) -> None:
            for group in TABLES:
                _create(file.create_group(group), ranks)
            material(file)

        super().__init__(path, attributes, create)

    def add(self, case: Case) -> None:
        """Put a file with one more case in the place of the file."""

        def change(file: h5py.File) -> None:
            index, first = len(file["cases/case"]), len(file["rounds/round"])
            cells: dict[str, Any] = {"first": first, "rounds": len(case.error)}
            cells["topology"] = case.topology.encode()
            cells |= {key: getattr(case, key) for key in TABLES["cases"] if key not in cells}
            _append(file["cases"], {key: np.array([cell]) for key, cell in cells.items()})
            counts = dict(zip(COUNTS, case.counts, strict=True))
            _append(file["rounds"], _columns(index, [case.error]) | counts)
            if case.redraws:
                _append(file["redraws"], _columns(index, case.redraws))

        self.change(change)


def _columns(index: int, curves: list[Curve]) -> dict[str, NDArray[Any]]:
    k = np.concatenate([np.arange(1, len(curve) + 1) for curve in curves])
    return {"case": np.full(len(k), index), "k": k, "error": np.concatenate(curves)}


def _create(group: h5py.Group, ranks: int) -> None:
    grows, *others = scales(group.name)
    add_scale(group, grows, np.empty(0, np.int64), grows=True)
    for name in others:
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


def _append(group: h5py.Group, columns: Mapping[str, NDArray[Any]]) -> None:
    grows = scales(group.name)[0]
    n = len(group[grows])
    more = len(next(iter(columns.values())))
    for name, values in ({grows: np.arange(n, n + more)} | dict(columns)).items():
        group[name].resize(n + more, axis=0)
        group[name][n:] = values


@dataclass(frozen=True)
class Rounds:
    """One result of bench.consensus, read whole."""

    path: Path
    attributes: dict[str, Any]
    cases: dict[str, NDArray[Any]]
    rounds: dict[str, NDArray[Any]]
    redraws: dict[str, NDArray[Any]]

    def span(self, case: int) -> slice:
        """Where the rounds of a case lie."""
        first = int(self.cases["first"][case])
        return slice(first, first + int(self.cases["rounds"][case]))

    def curves(self, case: int) -> list[Curve]:
        """The error after each round of a case, then of its redraws; 1 at the start of each."""
        mine = self.redraws["case"] == case
        begins = np.flatnonzero(self.redraws["k"][mine] == 1)
        again = np.split(self.redraws["error"][mine], begins)[1:]
        return [self.rounds["error"][self.span(case)], *again]


def read_rounds(path: Path) -> Rounds:
    """Read a result of bench.consensus, closed or still being written.

    Errors: BrokenFileError for what is no HDF5, not of this schema, or lacks a part of it.
    """
    with contents.opened(path) as file:
        attributes = contents.attributes(file)
        check_schema(path, attributes)
        tables = {
            group: {
                name: contents.column(file, f"{group}/{name}")
                for name in (*scales(group)[:1], *table)
            }
            for group, table in TABLES.items()
        }
    found = Rounds(path, attributes, tables["cases"], tables["rounds"], tables["redraws"])
    flaw = _flaw(found, tables)
    if flaw:
        raise BrokenFileError(f"{path}: {flaw}")
    return found


def _flaw(found: Rounds, tables: Mapping[str, Mapping[str, NDArray[Any]]]) -> str:
    """What is missing or does not fit together; empty for a sound file."""
    for name in NEEDED:
        if name not in found.attributes:
            return f"attribute {name} is missing"
    for group, columns in tables.items():
        lengths = {len(column) for column in columns.values()}
        if len(lengths) > 1 or any(columns[x].ndim != len(y[0]) for x, y in TABLES[group].items()):
            return f"the columns of /{group} are of different lengths"
    rounds = found.cases["rounds"]
    ends = np.cumsum(rounds)
    whole = int(ends[-1]) if len(ends) else 0
    if (
        (rounds < 1).any()
        or (found.cases["first"] != ends - rounds).any()
        or whole != len(found.rounds["k"])
    ):
        return "/cases and /rounds do not fit together"
    return ""
