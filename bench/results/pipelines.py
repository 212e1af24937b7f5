"""Writer and reader of the result files of bench.pipeline --measure.

/steps     step (the measured steps of all turns): dimension scale; turn, alone_ns; with the scales
           rank and phase: duration_ns, together_ns, theirs_ns, phase_ns
/memory    rank: dimension scale; saved_bytes, saved_bytes_formula, versions, versions_formula
/stages    stage: dimension scale; forward_ns, backward_ns, weight_ns
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from algorithms.wire.meter import FORWARD, PIPELINE_PHASES
from bench.results import tables
from bench.results.resultfile import append_rows
from bench.results.rows import PipelineRow
from bench.results.schema import COMPLETE, Table
from bench.results.statistics import median_interval
from bench.results.tables import Arrays, Tables, TablesFile, along

MEMORY: Table = {
    "saved_bytes": ("i8", "B", "largest size of the activations kept between passes"),
    "saved_bytes_formula": ("i8", "B", "the same by the order of the passes"),
    "versions": ("i8", "1", "versions of the parameters, of the stage with the most"),
    "versions_formula": ("i8", "1", "the same by the pipeline's formula"),
}
"""Columns of /memory, and of /pipeline in training files."""
TABLES: Tables = {
    "steps": {
        "turn": (("step",), "i8", "1", "turn of the measurement, from 0"),
        "alone_ns": (("step",), "i8", "ns", "duration of the minibatch on rank 0 alone"),
        "duration_ns": (("step", "rank"), "i8", "ns", "duration of the minibatch on the rank"),
        "together_ns": (
            ("step", "rank"),
            "i8",
            "ns",
            "duration of a minibatch of the whole model on the rank, on all ranks at once",
        ),
        "theirs_ns": (("step", "rank"), "i8", "ns", "duration_ns of --against; -1 without"),
        "phase_ns": (("step", "rank", "phase"), "i8", "ns", "part of duration_ns in the phase"),
    },
    "memory": along("rank", MEMORY),
    "stages": along(
        "stage",
        {
            "forward_ns": ("f8", "ns", "median forward pass of a micro-batch"),
            "backward_ns": ("f8", "ns", "median backward pass, or that for the inputs"),
            "weight_ns": ("f8", "ns", "median backward pass for the parameters alone; 0: none"),
        },
    ),
}
NEEDED = ("status", "ranks", "seed", "params_json", "pipeline", "task", "batch", "stages")
"""Attributes required by a reader."""
MODELS = ("clock_ns", "clock_bubble", "formula_ns", "formula_bubble", "message_ns")
"""Attributes of a complete file: the minibatch and the bubble by the model clock with the measured
passes and link and for equal stages without latency, and the time of the largest message."""


@dataclass(frozen=True)
class Turn:
    """Measured steps of one turn.

    durations, theirs: (n, ranks) ns, of the pipeline, and of the yardstick or None. phases: (n,
    ranks, 3) ns, forward passes, backward passes and bubble. alone: (n,) ns, of the whole model on
    rank 0 alone. together: (n, ranks) ns, of the whole model on every rank, at once.
    """

    durations: NDArray[np.int64]
    phases: NDArray[np.int64]
    alone: NDArray[np.int64]
    together: NDArray[np.int64]
    theirs: NDArray[np.int64] | None = None


class PipelineFile(TablesFile):
    """Result file of bench.pipeline --measure, written by rank 0. Errors: DiskError."""

    growth = ("steps/step", "steps")
    tables = TABLES
    scales = MappingProxyType({"phase": np.array(PIPELINE_PHASES[FORWARD:])})
    _turns = 0

    def add(self, turn: Turn) -> None:
        """Add the steps of a turn."""
        theirs = np.full_like(turn.durations, -1) if turn.theirs is None else turn.theirs
        columns = {
            "turn": np.full(len(turn.alone), self._turns),
            "alone_ns": turn.alone,
            "duration_ns": turn.durations,
            "together_ns": turn.together,
            "theirs_ns": theirs,
            "phase_ns": turn.phases,
        }
        self.change(lambda file: append_rows(file["steps"], "step", columns))
        self._turns += 1

    def complete(
        self,
        passes: NDArray[np.float64],
        memory: Mapping[str, Sequence[int]],
        models: Mapping[str, Any],
    ) -> None:
        """Add the passes, (K, 3) ns, the columns of /memory and the attributes; close the file."""

        def last(file: h5py.File) -> None:
            names = TABLES["stages"]
            append_rows(file["stages"], "stage", dict(zip(names, passes.T, strict=True)))
            columns = {name: np.array(memory[name]) for name in TABLES["memory"]}
            append_rows(file["memory"], "rank", columns)

        self.close(COMPLETE, models, last)


@dataclass(frozen=True)
class MeasuredPipeline:
    """Result of bench.pipeline --measure in memory."""

    path: Path
    attributes: dict[str, Any]
    steps: Arrays
    memory: Arrays
    stages: Arrays

    def rows(self) -> list[PipelineRow]:
        """Return the row of derived numbers; none before the first turn has ended."""
        return [self._row()] if len(self.steps["turn"]) else []

    def _row(self) -> PipelineRow:
        about, steps = self.attributes, self.steps
        ours = steps["duration_ns"].max(axis=1)
        median, low, high = (x / 1e6 for x in median_interval(ours))
        alone = float(np.median(steps["alone_ns"])) / 1e6
        theirs, ratio = math.nan, (math.nan, math.nan, math.nan)
        if about.get("against"):
            others = steps["theirs_ns"].max(axis=1)
            theirs, ratio = float(np.median(others)) / 1e6, median_interval(ours / others)
        clock, clock_bubble, formula, formula_bubble, message = (
            float(about.get(name, math.nan)) for name in MODELS
        )
        speedup, spent = alone / median, steps["phase_ns"].sum(axis=(0, 1))
        bound = int(about["columns"]) * (1 - formula_bubble)
        together = float(np.median(steps["together_ns"].max(axis=1))) / 1e6
        memory = {name: int(column.max(initial=-1)) for name, column in self.memory.items()}
        return PipelineRow(
            pipeline=str(about["pipeline"]),
            schedule=str(about["schedule"]),
            stages=int(about["stages"]),
            microbatches=int(about["microbatches"]),
            task=str(about["task"]),
            batch=int(about["batch"]),
            ranks=int(about["ranks"]),
            steps=len(ours),
            minibatch_ms=median,
            minibatch_ms_lo=low,
            minibatch_ms_hi=high,
            clock_ms=clock / 1e6,
            formula_ms=formula / 1e6,
            over_clock=1e6 * median / clock,
            bubble=float(spent[-1] / spent.sum()),
            clock_bubble=clock_bubble,
            formula_bubble=formula_bubble,
            alone_ms=alone,
            speedup=speedup,
            bound=bound,
            together_ms=together,
            bound_together=bound * alone / together,
            theirs_ms=theirs,
            over_theirs=ratio[0],
            over_theirs_lo=ratio[1],
            over_theirs_hi=ratio[2],
            saved_bytes=memory["saved_bytes"],
            saved_bytes_formula=memory["saved_bytes_formula"],
            versions=memory["versions"],
            versions_formula=memory["versions_formula"],
            message_bytes=int(about.get("message_bytes", -1)),
            message_ms=message / 1e6,
        )


def read_pipeline(path: str | Path) -> MeasuredPipeline:
    """Read a result of bench.pipeline --measure, closed or still being written.

    Errors: BrokenFileError for a file that is not HDF5, is of another schema or is incomplete.
    """
    path = Path(path)
    attributes, arrays = tables.read(path, TABLES, NEEDED)
    return MeasuredPipeline(path, attributes, arrays["steps"], arrays["memory"], arrays["stages"])


def pipeline_flaws(result: MeasuredPipeline) -> Iterator[str]:
    """Yield the contradictions between the parts of a result."""
    steps = result.steps
    for name in ("alone_ns", "duration_ns", "together_ns"):
        if (steps[name] <= 0).any():
            yield f"steps/{name} has values of 0 or below"
    if (steps["phase_ns"] < 0).any():
        yield "steps/phase_ns has values below 0"
    if (steps["phase_ns"].sum(axis=2) > steps["duration_ns"]).any():
        yield "steps/phase_ns exceeds steps/duration_ns"
    if ((steps["theirs_ns"] > 0) != bool(result.attributes.get("against"))).any():
        yield "steps/theirs_ns contradicts the attribute against"
    if result.attributes["status"] != COMPLETE:
        return
    for name in MODELS:
        if name not in result.attributes:
            yield f"attribute {name} is missing although the file is complete"
    for group, number in (("stages", "stages"), ("memory", "ranks")):
        rows = len(next(iter(getattr(result, group).values())))
        if rows != int(result.attributes[number]):
            yield f"/{group} has {rows} rows, not {result.attributes[number]}"
