"""Result file of a loop of one's own: the schema and the writers of bench.train."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.common.spec import UserError
from bench.loop.settings import Settings
from bench.results.clocks import append_clocks
from bench.results.recorder import Block
from bench.results.resultfile import add_table, now
from bench.results.runfile import RunFile, append_attempt
from bench.results.schema import COMPLETE, DIVERGED
from bench.results.summary import add_summary, final_summary
from bench.runtime.opening import add_provenance, model_attributes, origin
from bench.session.clocks import Reading


@dataclass
class Course:
    """Course of a run on rank 0: blocks of steps and evaluations, kept until they are written."""

    ranks: list[dict[str, Any]]
    """Place of every rank, as use_threads returns it."""
    flaws: list[str]
    clocks: Reading
    """Clocks at the start."""
    began_utc: str = field(default_factory=now)
    blocks: list[tuple[Block, int]] = field(default_factory=list)
    """Blocks with the number of their first step."""
    evals: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class End:
    """End of a run: the state of all workers after the last step."""

    steps: int
    parameters: int
    parameters_sha256: str
    finite: bool
    clocks: Reading
    metric_name: str
    metric_direction: str
    losses: NDArray[np.float64]
    """Loss of every worker's model, (W,)."""
    metrics: NDArray[np.float64]
    """Metric of every worker's model, (W,)."""
    wire_error: float | None
    """Relative error of the rows as they travel; None where they are not rounded."""


def check_place(text: str, path: Path) -> None:
    """Make the folder of a result, and check that the file can be written.

    text: the argument of `save`; path: the file. Errors: UserError.
    """
    if text.endswith(os.sep) or path.is_dir():
        raise UserError(f"save({text!r}) names a folder: name a file in it, as mine.h5")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe = path.with_name(f".{path.name}.probe")
        probe.touch()
        probe.unlink()
    except OSError as error:
        in_the_way = isinstance(error, FileExistsError | NotADirectoryError)
        reason = f"{path.parent} is no folder" if in_the_way else error.strerror
        raise UserError(
            f"save({text!r}) cannot be written ({reason}): give a file in another folder, "
            "as runs/mine.h5"
        ) from None


def write(path: Path, settings: Settings, course: Course, end: End) -> None:
    """Write the result file of a run; on rank 0. Errors: DiskError."""
    workers, algorithm = len(course.ranks), settings.algorithm
    attributes: dict[str, Any] = {
        **origin("bench.train", sys.argv, course.ranks, course.flaws, 1),
        "parts": 1,
        "attempt": 1,
        "attempt_row": 0,
        "attempt_sync": 0,
        "steps_before": 0,
        "case_hash": settings.hash(workers, end.steps),
        "params_json": json.dumps(settings.params(workers, end.steps)),
        "seed": settings.options.seed,
        "workers": workers,
        "batch": settings.options.batch,
        "allreduce": settings.options.allreduce,
        "exchange_interval": algorithm.exchange_interval(workers),
        "exchange_cycle": algorithm.exchange_cycle(workers),
        "steps_planned": end.steps,
        "time_definition": "elapsed time over steps, slowest rank; evaluations are left out",
        "metric_name": end.metric_name,
        "metric_direction": end.metric_direction,
        "parameters": end.parameters,
        "inputs_json": json.dumps(settings.sources),
        **settings.texts,
    }
    if settings.compute:
        attributes |= model_attributes(settings.compute.mean_s)

    def add_tables(file: Any) -> None:
        add_provenance(file, course.ranks)
        append_clocks(file, vars(course.clocks))
        host = attributes["host"]
        start = {"row": 0, "step": 0, "sync": 0, "ranks": workers, "host": host}
        append_attempt(file, {**start, "began_utc": course.began_utc})

    file = RunFile(path, range(workers), attributes, add_tables)
    for block, first in course.blocks:
        file.append(block, first, settings.options.warmup)
    for row in course.evals:
        file.evaluate(row)
    file.flush(now=True)
    _close(file, end)


def _close(file: RunFile, end: End) -> None:
    """Add the final tables and close the file."""
    status = COMPLETE if end.finite else DIVERGED
    reason = "" if end.finite else f"NaN or infinity at or before step {end.steps}"
    last: dict[str, Any] = {"parameters_sha256": end.parameters_sha256, "reason": reason}
    if end.wire_error is not None:
        last |= {"wire_error": end.wire_error}
    summary = final_summary(file.part, {**last, "status": status})
    worker: Sequence[int] = range(len(end.losses))

    def finish(opened: Any) -> None:
        columns = {
            "loss": (("worker",), end.losses, "1", "loss at the end"),
            "metric": (("worker",), end.metrics, "1", "metric at the end"),
        }
        add_table(opened, "workers", {"worker": np.array(worker)}, columns)
        append_clocks(opened, vars(end.clocks))
        add_summary(opened, summary)

    file.close(status, last, finish)
