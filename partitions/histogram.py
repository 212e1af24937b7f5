"""Label and quantity skew by the label histogram of another federation.

A CSV file has a line for each worker and a column for each class, in samples or shares. Empty lines
are skipped, and so is the first line if it begins with a name. A .json file has a list of such
rows, each a list of numbers.
"""

import csv
import io
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.common.files import read_text
from partitions.placing import require_enough
from partitions.protocol import Partition, Samples
from partitions.sizes import apportion
from partitions.transport import class_sizes, deal, fit, round_table


@dataclass(frozen=True)
class Histogram(Partition):
    """Label and quantity skew of a CSV or JSON file: samples by worker and class.

      1. worker k takes row k of the file, modulo the number of rows; further rows are left out;
      2. sizes in proportion to the sums of rows, each at least 1;
      3. the table nearest to the rows with these sizes and the classes of the data, in whole
         samples (partitions.transport); a class missing in all rows fills the remaining places.
    Disjoint and covering. Columns are the classes of the data from 0 on; columns of absent classes
    are left out.
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
        table = read(self.file)
        if table.shape[1] < samples.classes:
            raise ValueError(
                f"{self.file} has {table.shape[1]} columns, the data {samples.classes} classes: "
                "give a column to every class"
            )
        present = np.bincount(samples.labels, minlength=table.shape[1]) > 0
        weights = table[np.arange(parts) % len(table)][:, present]  # 1
        if not weights.any(axis=1).all():
            row = int(weights.any(axis=1).argmin())
            raise ValueError(
                f"{self.file}, row {row + 1} has no sample of a class of the data: give "
                "every worker some, or take the row out"
            )
        rows, columns = apportion(weights.sum(axis=1), samples.size), class_sizes(samples)  # 2
        plan = fit(weights, rows, columns)
        return deal(samples, round_table(plan, rows, columns, rng), rng)  # 3


def read(name: str) -> NDArray[np.float64]:
    """Return the table of a file, (rows, columns) float64 in [0, 1], relative to its largest entry.

    Raises ValueError, naming the file and the place, for anything but a table of numbers >= 0.
    """
    if not name:
        raise ValueError("histogram needs file=NAME.csv, samples by worker and class")
    try:
        rows = (_json_rows if name.endswith(".json") else _csv_rows)(Path(name))
    except (OSError, ValueError, csv.Error) as error:
        raise ValueError(f"histogram file {name} cannot be read: {error}") from None
    if not rows:
        raise ValueError(f"histogram file {name} holds no row of numbers")
    width = len(next(iter(rows.values())))
    for place, row in rows.items():
        if len(row) != width:
            raise ValueError(f"{name}, {place} has {len(row)} columns, the first row {width}")
        for j, entry in enumerate(row, start=1):
            if not 0 <= _number(entry) < math.inf:
                raise ValueError(
                    f"{name}, {place}: must be numbers >= 0, got {entry!r} in column {j}"
                )
    table = np.array([[_number(entry) for entry in row] for row in rows.values()])
    return table / (table.max(initial=0) or 1.0)


def _csv_rows(path: Path) -> dict[str, list[Any]]:
    """Return the cells of every line by its place."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""))
    lines = {f"line {i}": cells for i, cells in enumerate(reader, start=1) if cells}
    first = next(iter(lines), None)
    if first and math.isnan(_number(lines[first][0])) and lines[first][0].strip().lower() != "nan":
        del lines[first]
    return lines


def _json_rows(path: Path) -> dict[str, list[Any]]:
    """Return the entries of every row by its place."""
    rows = json.loads(read_text(path))
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise ValueError("it must hold a list of rows, each a list of numbers")
    return {f"row {i}": row for i, row in enumerate(rows, start=1)}


def _number(entry: Any) -> float:
    """Return the number in an entry; NaN if there is none, as in JSON's true."""
    if isinstance(entry, bool) or not isinstance(entry, str | int | float):
        return math.nan
    try:
        return float(entry)
    except (ValueError, OverflowError):
        return math.nan
