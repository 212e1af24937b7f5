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

SUMMARY = {
    "steps": ("1", "steps a worker took, mean"),
    "metric": ("1", "metric of the mean model at the end"),
    "metric_mean": ("1", "mean over workers of each one's metric at the end"),
    "metric_worst": ("1", "metric of the worst worker at the end"),
    "loss": ("1", "held-out loss of the mean model at the end"),
    "consensus": ("1", "consensus distance at the end"),
    "elapsed_s": ("s", "training time, evaluations left out"),
    "s_per_sample": ("s", "training time divided by the samples that all workers saw"),
    "step_ms_p50": ("ms", "median step on its slowest rank, warm-up left out"),
    "step_ms_lo": ("ms", "lower end of the 95 % interval of the median step"),
    "step_ms_hi": ("ms", "upper end of the 95 % interval of the median step"),
    "pace_fastest": ("1/s", "steps a second of the fastest rank"),
    "pace_slowest": ("1/s", "steps a second of the slowest rank"),
    "exchange_share": ("1", "share of waiting and copying in the timed steps of all ranks"),
    "exchange_ms": ("ms", "waiting and copying a step and rank, mean"),
    "bytes_per_step": ("B", "left a worker for another one, a step"),
    "wire_bytes_per_step": ("B", "of them handed to MPI"),
    "time_to_target_s": ("s", "training time to the target; infinite where missed"),
    "steps_to_target": ("1", "steps to the target"),
    "samples_to_target": ("1", "samples that all workers saw to the target"),
    "bytes_to_target": ("B", "moved by all workers to the target"),
}
"""Name, as in Run.row() -> units, long_name."""


def summarised(part: Path, attributes: Mapping[str, Any]) -> dict[str, float]:
    """The summary of a file that is about to be closed with these attributes."""
    run = read(part)
    return of(replace(run, attributes={**run.attributes, **attributes}))


def of(run: Run) -> dict[str, float]:
    """The summary as the raw rows have it."""
    row = run.row()
    return {name: float(row[name]) for name in SUMMARY}


def add(file: h5py.File, summary: Mapping[str, float]) -> None:
    """Write the summary into an open file, in the place of an earlier one."""
    if "summary" in file:
        del file["summary"]
    group = file.create_group("summary")
    for name, (units, title) in SUMMARY.items():
        dataset = group.create_dataset(name, data=summary[name])
        dataset.attrs.update({"units": units, "long_name": title})


def flaws(run: Run, stored: Mapping[str, Any]) -> list[str]:
    """Where a stored summary is not what the raw rows say, a line each."""
    return [
        f"summary/{name} is {stored[name]:.9g}, the raw rows give {value:.9g}"
        for name, value in of(run).items()
        if name in stored and not _same(float(stored[name]), value)
    ]


def _same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-9)
