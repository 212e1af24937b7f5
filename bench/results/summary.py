"""/summary of a training file: its derived numbers, for whoever reads it without this suite.

Nothing here reads them again: readers derive every number from the raw rows, and validation
compares the two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py

from bench.results.reader import Run, read
from bench.results.rows import TrainingRow

SUMMARY = {name: column for name, column in TrainingRow.columns.items() if column.summary}
"""Columns of a training row that /summary stores."""


def summarised(part: Path, attributes: Mapping[str, Any]) -> dict[str, float]:
    """The summary of a file that is about to be closed with these attributes."""
    run = read(part)
    return of(replace(run, attributes={**run.attributes, **attributes}))


def of(run: Run) -> dict[str, float]:
    """The summary as the raw rows have it."""
    row = run.row()
    return {name: row.number(name) for name in SUMMARY}


def add(file: h5py.File, summary: Mapping[str, float]) -> None:
    """Write the summary into an open file, in the place of an earlier one."""
    if "summary" in file:
        del file["summary"]
    group = file.create_group("summary")
    for name, column in SUMMARY.items():
        dataset = group.create_dataset(name, data=summary[name])
        dataset.attrs.update({"units": column.units, "long_name": column.long_name})


def flaws(run: Run, stored: Mapping[str, Any]) -> list[str]:
    """Where a stored summary is not what the raw rows say, a line each."""
    return [
        f"summary/{name} is {stored[name]:.9g}, the raw rows give {value:.9g}"
        for name, value in of(run).items()
        if name in stored and not _same(float(stored[name]), value)
    ]


def _same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-9)
