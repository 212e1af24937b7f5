"""Summary of a training run: the derived numbers stored in /summary of its result file."""

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
"""Columns of a training row in /summary."""


def final_summary(part: Path, attributes: Mapping[str, Any]) -> dict[str, float]:
    """Return the summary of a file that is about to be closed with these attributes."""
    run = read(part)
    return summary_of(replace(run, attributes={**run.attributes, **attributes}))


def summary_of(run: Run) -> dict[str, float]:
    """Return the summary derived from the raw rows of a run."""
    row = run.row()
    return {name: row.number(name) for name in SUMMARY}


def add_summary(file: h5py.File, summary: Mapping[str, float]) -> None:
    """Write the summary into an open file; replace an earlier one."""
    if "summary" in file:
        del file["summary"]
    group = file.create_group("summary")
    for name, column in SUMMARY.items():
        dataset = group.create_dataset(name, data=summary[name])
        dataset.attrs.update({"units": column.units, "long_name": column.long_name})


def summary_flaws(run: Run, stored: Mapping[str, Any]) -> list[str]:
    """Return the differences between a stored summary and the raw rows, one line each."""
    return [
        f"summary/{name} is {stored[name]:.9g}, the raw rows give {value:.9g}"
        for name, value in summary_of(run).items()
        if name in stored and not _equal(float(stored[name]), value)
    ]


def _equal(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-9)
