"""Label and quantity skew by the label histogram of another federation.

A CSV file has a line for each worker and a column for each class, in samples or shares. Empty lines
are skipped. A first line may name the classes, in any order: it begins with a name, or has five or
more numbers that count from 0 or 1, or are the classes. A .json file has a list of such rows, each
a list of numbers.
"""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.common.files import parse_json, read_text
from partitions.placing import require_enough
from partitions.protocol import Partition, Samples
from partitions.sizes import apportion
from partitions.transport import class_sizes, deal, fit, round_table

LEAST, CLEAR = 3, 5
"""Numbers of a first line that may be names, and that are names, if they count."""
SHOWN = 10
"""Names of classes that a message shows."""


@dataclass(frozen=True)
class Histogram(Partition):
    """Label and quantity skew of a CSV or JSON file: samples by worker and class.

      1. worker k takes row k of the file, modulo the number of rows; further rows are left out;
      2. sizes in proportion to the sums of rows, each at least 1;
      3. the table nearest to the rows with these sizes and the classes of the data, in whole
         samples (partitions.transport); a class missing in all rows fills the remaining places.
    Disjoint and covering. Columns belong to the classes of their names; else, if there are as many,
    to the classes in their order; else to those of their number, from 0 on. Columns of absent
    classes are left out. A column that names no class, or counts the rows, is refused.
    """

    file: str = field(default="", metadata={"help": "CSV or JSON file", "path": True})

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """Return the shard of every worker.

        Raises ValueError for a file without such a table, for a table without a class of the data,
        and for fewer samples than workers.
        """
        require_enough(samples, parts)
        names, table = read(self.file, samples.class_names)
        columns_of = columns_of_classes(self.file, names, table, samples.class_names)
        table = table / (table.max(initial=0) or 1.0)
        present = np.bincount(samples.labels, minlength=samples.classes) > 0
        weights = table[np.arange(parts) % len(table)][:, np.array(columns_of)[present]]  # 1
        if not weights.any(axis=1).all():
            row = int(weights.any(axis=1).argmin())
            raise ValueError(
                f"{self.file}, row {row + 1} has no sample of a class of the data: give "
                "every worker some, or take the row out"
            )
        rows, columns = apportion(weights.sum(axis=1), samples.size), class_sizes(samples)  # 2
        plan = fit(weights, rows, columns)
        return deal(samples, round_table(plan, rows, columns, rng), rng)  # 3


def read(name: str, classes: Sequence[str] = ()) -> tuple[list[str], NDArray[np.float64]]:
    """Return the names of the columns of a file, empty without any, and its table.

    The table is (rows, columns) float64. classes: of the data. Raises ValueError, naming the file
    and the place, for anything but a table of numbers >= 0.
    """
    if not name:
        raise ValueError("histogram needs file=NAME.csv, samples by worker and class")
    try:
        rows = (_json_rows if name.endswith(".json") else _csv_rows)(Path(name))
        names = [] if name.endswith(".json") else _take_names(rows, classes)
    except (OSError, ValueError, csv.Error) as error:
        raise ValueError(f"histogram file {name} cannot be read: {error}") from None
    if not rows:
        raise ValueError(f"histogram file {name} holds no row of numbers")
    width = len(names or next(iter(rows.values())))
    for place, row in rows.items():
        if len(row) != width:
            first = "the names" if names else "the first row"
            raise ValueError(f"{name}, {place} has {len(row)} columns, {first} {width}")
        for j, entry in enumerate(row, start=1):
            if not 0 <= _number(entry) < math.inf:
                raise ValueError(
                    f"{name}, {place}: must be numbers >= 0, got {entry!r} in column {j}"
                )
    table = np.array([[_number(entry) for entry in row] for row in rows.values()])
    return names, table


def columns_of_classes(
    name: str, names: Sequence[str], table: NDArray[np.float64], classes: Sequence[str]
) -> list[int]:
    """Return the column of each class of the data.

    names: of the columns, empty without any. Raises ValueError for a column that names no class, or
    counts the rows, and for a class without a column.
    """
    width = table.shape[1]
    numbers = all(x.isdecimal() for x in classes)
    if names and {*names} & {*classes}:
        for j, column in enumerate(names):
            if list(names).index(column) < j:
                raise ValueError(f"{name}: two columns are named {column!r}: give each its class")
            if column not in classes and not (numbers and column.isdecimal()):
                raise ValueError(
                    f"{name}: column {j + 1}, {column!r}, names no class of the data "
                    f"({', '.join(classes[:SHOWN])}{', ...' * (len(classes) > SHOWN)}): take it "
                    "out (pandas: index=False)"
                )
        for label in classes:
            if label not in names:
                raise ValueError(f"{name} has no column {label!r}: give a column to every class")
        return [list(names).index(label) for label in classes]
    if width < len(classes):
        raise ValueError(
            f"{name} has {width} columns, the data {len(classes)} classes: give a column to every "
            "class"
        )
    if _counts(table) and (width > len(classes) or len(table) > 2):
        raise ValueError(
            f"{name}: column 1 counts the rows: take it out (pandas: index=False), or name every "
            "column by its class in the first line"
        )
    if width == len(classes):
        return list(range(width))
    if np.array_equal(table[:, -1], table[:, :-1].sum(axis=1)):
        raise ValueError(f"{name}: column {width} is the sum of the others: take it out")
    if names or not numbers or max(map(int, classes)) >= width:
        raise ValueError(
            f"{name} has {width} columns, the data {len(classes)} classes: name each column by its "
            "class in the first line, or give one column to every class"
        )
    return [int(label) for label in classes]


def _counts(table: NDArray[np.float64]) -> bool:
    """Return True if the first column counts the rows from 0 or 1 on."""
    column = table[:, 0]
    return column[0] in (0, 1) and np.array_equal(column, column[0] + np.arange(len(column)))


def _csv_rows(path: Path) -> dict[str, list[Any]]:
    """Return the cells of every line by its place."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""))
    lines = {f"line {i}": cells for i, cells in enumerate(reader, start=1) if cells}
    for place, cells in lines.items():
        if any(mark in cells[0] for mark in ";\t") or any("\n" in cell for cell in cells):
            raise ValueError(f"{place}: fields must be separated by commas, without quotes astray")
    return lines


def _take_names(rows: dict[str, list[Any]], classes: Sequence[str]) -> list[str]:
    """Remove the names of columns from the first line and return them; empty if it has none.

    Raises ValueError if it may be names or samples.
    """
    if not rows:
        return []
    place = next(iter(rows))
    cells = [str(cell).strip() for cell in rows[place]]
    naming = sorted(cells) == sorted(classes)
    counting = [str(i + int(cells[0] == "1")) for i in range(len(cells))] == cells
    if naming and LEAST <= len(cells) < CLEAR and all(x.isdecimal() for x in cells):
        raise ValueError(
            f"{place}: {', '.join(cells)} may be names or samples: write {float(cells[0])}, ... "
            "for samples, or put any name before them"
        )
    numbers = [x for x in cells if not math.isnan(_number(x))]
    word = cells[0] not in numbers and cells[0].lower() != "nan"
    if word and numbers and not (all(x.isdecimal() for x in numbers) and {*numbers} & {*classes}):
        return []  # a sample with a wrong number
    if not word and not ((counting or naming) and len(cells) >= CLEAR):
        return []
    del rows[place]
    return cells


def _json_rows(path: Path) -> dict[str, list[Any]]:
    """Return the entries of every row by its place."""
    rows = parse_json(read_text(path))
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise ValueError("it must hold a list of rows, each a list of numbers")
    return {f"row {i}": row for i, row in enumerate(rows, start=1)}


def _number(entry: Any) -> float:
    """Return the number in an entry; NaN if there is none, as in JSON's true."""
    if isinstance(entry, bool) or not isinstance(entry, str | int | float):
        return math.nan
    if isinstance(entry, str) and "_" in entry:  # float() takes 1_000
        return math.nan
    try:
        return float(entry)
    except (ValueError, OverflowError):
        return math.nan
