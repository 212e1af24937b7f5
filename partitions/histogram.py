"""The label histogram of another federation, laid over these data.

A CSV file: a row a worker, a column a class, samples or shares.  A first line of names is skipped.
"""

import csv
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from partitions.counts import class_sizes, dealt
from partitions.placing import require_enough
from partitions.protocol import Samples
from partitions.sizes import apportioned
from partitions.transport import fit, rounded


@dataclass(frozen=True)
class Histogram:
    """label and quantity skew of a CSV file: samples by worker and class

      1. worker k takes row k of the file, from the first again where there are fewer rows;
      2. sizes in proportion to the sums of rows, each at least 1;
      3. the table nearest to the rows with these sizes and the classes of the data, in whole
         samples (partitions.transport).
    Disjoint and covering.  Columns are the classes of the data from 0 on; columns of classes that
    are absent are left out.
    """

    file: str = field(default="", metadata={"help": "the CSV file"})

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """The shard of every worker.

        Raises ValueError for a file that is not such a table, for one without a class of the data,
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
        if not weights.any(1).all():
            row = int(weights.any(1).argmin()) % len(table)
            raise ValueError(
                f"{self.file}, row {row + 1} has no sample of a class that the data have: give "
                "every worker some, or take the row out"
            )
        rows, columns = apportioned(weights.sum(1), samples.size), class_sizes(samples)  # 2
        plan = fit(weights, rows, columns)
        return dealt(samples, rounded(plan, rows, columns, rng), rng)  # 3


def read(name: str) -> NDArray[np.float64]:
    """The table of a CSV file, (rows, columns) float64 >= 0. Raises ValueError, naming the line."""
    if not name:
        raise ValueError("histogram needs file=NAME.csv, samples by worker and class")
    try:
        with Path(name).open(newline="") as file:
            lines = [(i, line) for i, line in enumerate(csv.reader(file), start=1) if line]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"histogram file {name} cannot be read: {error}") from None
    if lines and not _number(lines[0][1][0]):
        lines = lines[1:]
    if not lines:
        raise ValueError(f"histogram file {name} holds no row of numbers")
    table = []
    for i, line in lines:
        if len(line) != len(lines[0][1]):
            raise ValueError(
                f"{name}, line {i} has {len(line)} columns, the first row {len(lines[0][1])}"
            )
        for text in line:
            if not _number(text) or not 0 <= float(text) < math.inf:
                raise ValueError(f"{name}, line {i}: must be numbers >= 0, got {text!r}")
        table.append([float(text) for text in line])
    return np.array(table)


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
