"""Validation of result files: layout, raw rows, and the summary against the raw rows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import h5py
import numpy as np

from algorithms.wire.meter import PHASES, PIPELINE_PHASES
from bench.common.spec import case_hash
from bench.results import (
    chaos,
    contents,
    decisions,
    epochs,
    lost,
    pipelines,
    rounds,
    simulations,
)
from bench.results.calls import CALLS, ROWS, Calls, read_calls
from bench.results.clocks import CLOCK
from bench.results.events import EVENTS
from bench.results.guard import brief
from bench.results.provenance import program_of
from bench.results.reader import BrokenFileError, Run, read
from bench.results.runfile import ATTEMPTS
from bench.results.schema import (
    COMPLETE,
    DIVERGED,
    EVAL,
    EVAL_SINCE,
    FAILED,
    PART,
    PREEMPTED,
    RUNNING,
    SEGMENTS,
    TRAIN,
    WARMUP,
    eval_options,
)
from bench.results.statistics import median_interval
from bench.results.summary import summary_flaws
from bench.results.tables import Declared, Layout, declared, layout_flaws


class Result(Protocol):
    """Result of a program in memory."""

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the root."""


R = TypeVar("R", bound=Result)


def _along(dim: str, table: Mapping[str, tuple[Any, str, str]]) -> dict[str, Any]:
    return {name: ((dim,), dtype, units) for name, (dtype, units, _) in table.items()}


TRAINING: Layout = {
    "train": {name: (dims, dtype, units) for name, (dims, dtype, units, _) in TRAIN.items()},
    "eval": _along("index", EVAL),
}
SINCE_1_3: Layout = {
    "segments": _along("index", SEGMENTS),
    "clock": dict.fromkeys(CLOCK, (("sync", "rank"), np.int64, "ns")),
}
"""Groups of training files since version 1.3."""
SINCE_1_4: Layout = {"attempts": _along("attempt", ATTEMPTS)}
"""Groups of training files since version 1.4."""
SINCE_1_5: Layout = {"eval": _along("index", EVAL_SINCE)}
"""Datasets of training files since version 1.5."""
TRACED: Layout = {"events": _along("event", EVENTS)}
"""Groups of training files of runs with --trace."""
COLLECTIVES: Layout = {
    "rows": _along("row", ROWS),
    "calls": {
        name: (dims, np.int64, "ns" if name.endswith("_ns") else "1")
        for name, (dims, _) in CALLS.items()
    },
}


STATES = (RUNNING, COMPLETE, DIVERGED, FAILED, PREEMPTED)
SHA256 = re.compile("[0-9a-f]{64}")


def flaws(path: Path) -> list[str]:
    """Return the flaws of a file, one line each; empty if it is valid."""
    program = program_of(path)
    if program not in CHECKS:
        if program == PART:
            return ["has the steps of some ranks only: merge the files of the run with bench.merge"]
        return [f"written by {program!r}, not by {', '.join(CHECKS)}"]
    try:
        contents.check_own(path)
        return list(dict.fromkeys(CHECKS[program](path)))
    except BrokenFileError as error:
        return [str(error).removeprefix(f"{path}: ")]
    except (
        OSError,
        RuntimeError,
        KeyError,
        TypeError,
        ValueError,
        IndexError,
        AttributeError,
    ) as error:
        return [f"the parts do not fit together: {brief(error)}"]


def _training(path: Path) -> Iterator[str]:
    run = read(path)
    new = _version(run.attributes) >= (1, 3)
    with h5py.File(path, "r") as file:
        groups = decisions.layout(file) if "decisions" in file else {}
        groups |= epochs.layout(file) | lost.layout(file)
        yield from layout_flaws(file, TRAINING)
        yield from layout_flaws(file, groups)
        if new:
            yield from layout_flaws(file, SINCE_1_3)
        yield from layout_flaws(file, {"eval": _along("index", eval_options(run.attributes))})
        if "events" in file:
            yield from layout_flaws(file, TRACED)
        begins = [0]
        if _version(run.attributes) >= (1, 4):
            yield from layout_flaws(file, SINCE_1_4)
            begins = file["attempts/row"][()].tolist()
        if _version(run.attributes) >= (1, 5):
            yield from layout_flaws(file, SINCE_1_5)
        segments = {x: file[f"segments/{x}"][()] for x in ("first", "steps")} if new else {}
        stored = {x: file["summary"][x][()] for x in file.get("summary", {})}
    yield from _attributes(run.attributes)
    yield from _steps(run, begins)
    yield from _evaluations(run)
    yield from decisions.flaws(path)
    steps = int(run.attributes.get("steps_before", 0)) + len(run.train["step"])
    yield from epochs.flaws(path, run.attributes, steps)
    if segments:
        yield from _segments(run, segments)
        yield from _counts(run, len(segments["steps"]))
    if run.status in (COMPLETE, DIVERGED) and not SHA256.fullmatch(
        str(run.attributes.get("parameters_sha256", ""))
    ):
        yield "parameters_sha256 is not a SHA-256 although the run has ended"
    yield from summary_flaws(run, stored)
    if new and run.status in (COMPLETE, DIVERGED) and not stored:
        yield "summary is missing although the run has ended"


def _attributes(attributes: Any) -> Iterator[str]:
    """Yield the flaws of the attributes common to all results."""
    if attributes["status"] not in STATES:
        yield f"status is {brief(repr(attributes['status']))}, not {', '.join(STATES)}"
    if attributes["status"] == COMPLETE and not attributes.get("closed_utc"):
        yield "closed_utc is missing although the file is complete"
    params = json.loads(attributes["params_json"])
    expected = case_hash(params, int(attributes["ranks"]))
    if attributes.get("case_hash", expected) != expected:
        yield f"case_hash is {attributes['case_hash']}, params_json gives {expected}"


def _steps(run: Run, begins: list[int]) -> Iterator[str]:
    """Yield the raw rows that no clock or counter can produce.

    begins: first row of each attempt; attempts have different clocks.
    """
    train, mask = run.train, run.step_mask()
    if tuple(x.decode() for x in train["phase"]) not in (PHASES, PIPELINE_PHASES):
        yield f"train/phase is not {', '.join(PHASES)}"
    for name in ("phase_ns", "bytes_sent", "bytes_copied", "messages"):
        if (train[name] < 0).any():
            yield f"train/{name} has values below 0"
        if (train[name][~mask] != 0).any():
            yield f"train/{name} is not 0 for a missing step"
    if (train["step"] != np.arange(len(train["step"]))).any():
        yield "train/step does not count from 0"
    duration = train["phase_ns"].sum(2)
    attempt = np.searchsorted(begins, np.arange(len(mask)), side="right")
    for rank in range(mask.shape[1]):
        own = mask[:, rank]
        start, same = train["start_ns"][own, rank], np.diff(attempt[own]) == 0
        if (same & (start[1:] < (start + duration[own, rank])[:-1])).any():
            yield f"rank {rank} began a step before its previous step had ended"


def _segments(run: Run, segments: dict[str, Any]) -> Iterator[str]:
    """Yield the mismatches between segments, flags and steps."""
    if segments["steps"].sum() != len(run.train["flags"]):
        yield "segments/steps do not add up to the rows of train"
        return
    begins = np.cumsum(segments["steps"]) - segments["steps"]
    number = np.arange(len(run.train["flags"])) + np.repeat(
        segments["first"] - begins, segments["steps"]
    )
    warm = number < int(run.params.get("warmup", 0))
    if (((run.train["flags"] & WARMUP) != 0) != warm).any():
        yield "train/flags do not mark the warm-up steps of params_json"


def _counts(run: Run, segments: int) -> Iterator[str]:
    """Yield the mismatches between the rows and the steps that were asked for or evaluated.

    Ranks of asynchronous algorithms share the steps of a segment, and may exceed it by one step.
    """
    if run.status not in (COMPLETE, DIVERGED) or not len(run.evals["step"]):
        return
    last, before = int(run.evals["step"][-1]), int(run.attributes.get("steps_before", 0))
    planned = int(run.attributes.get("steps_planned", run.params.get("steps", last)))
    early = run.attributes.get("target_reached") or run.attributes.get("patience_ended")
    if run.status == COMPLETE and last != planned and not early:
        yield f"status is complete after {last} of {planned} steps"
    rows = len(run.train["flags"])
    if run.step_mask().all():
        if rows != last - before:
            yield f"every rank has {rows} rows, the last evaluation is after {last - before} steps"
        return
    workers, steps = int(run.attributes["workers"]), run.worker_steps()
    least = (last - before) * workers
    if not least <= steps <= least + segments * workers:
        yield f"all workers have {steps} steps, the last evaluation is after {least}"


def _evaluations(run: Run) -> Iterator[str]:
    """Yield the flaws of the evaluations and of the target."""
    evals = run.evals
    for name in ("step", "samples", "elapsed_ns"):
        if (np.diff(evals[name]) < 0).any():
            yield f"eval/{name} decreases"
    steps = epochs.worker_steps(epochs.read(run.path), run.attributes, evals["step"])
    if (evals["samples"] != steps * int(run.attributes["batch"])).any():
        yield "eval/samples are not steps times batch times workers"
    target = run.attributes.get("target")
    if target is not None and run.status == COMPLETE and len(evals["metric"]):
        last, least = float(evals["metric"][-1]), run.attributes.get("metric_direction") == "min"
        reached = last <= float(target) if least else last >= float(target)
        if reached != bool(run.attributes.get("target_reached", False)):
            yield f"target_reached contradicts the last evaluation and the target {target}"


def _collectives(path: Path) -> Iterator[str]:
    calls = read_calls(path)
    with h5py.File(path, "r") as file:
        yield from layout_flaws(file, COLLECTIVES)
        rows = file["calls/row"][()]
    yield from _attributes(calls.attributes)
    yield from _calls(calls, rows)


def _calls(calls: Calls, rows: Any) -> Iterator[str]:
    table = calls.table
    if (table["first"] != np.cumsum(table["n"]) - table["n"]).any() or (table["n"] < 1).any():
        yield "rows/first and rows/n are not consecutive"
        return
    if (rows != np.repeat(np.arange(len(table["n"])), table["n"])).any():
        yield "calls/row contradicts rows/first and rows/n"
    if (calls.duration_ns <= 0).any():
        yield "calls/duration_ns has values of 0 or below"
    for i, converged in enumerate(table["converged"]):
        median, low, high = median_interval(calls.duration_ns[calls.span(i)].max(1))
        if converged and max(high - median, median - low) > float(calls.attributes["ci"]) * median:
            yield f"row {i} is marked as converged, but the interval of its median is too wide"


def _tables(
    tables: Declared, read_result: Callable[[Path], R], result_flaws: Callable[[R], Iterator[str]]
) -> Callable[[Path], Iterator[str]]:
    """Return the check of a program whose results are tables."""

    def check(path: Path) -> Iterator[str]:
        result = read_result(path)
        layout = {
            group: {name: (dims, dtype, units) for name, (dims, dtype, units, _) in columns.items()}
            for group, columns in declared(tables, result.attributes).items()
        }
        with h5py.File(path, "r") as file:
            yield from layout_flaws(file, layout)
        yield from _attributes(result.attributes)
        yield from result_flaws(result)

    return check


def _version(attributes: Any) -> tuple[int, int]:
    major, _, minor = str(attributes["schema_version"]).partition(".")
    return int(major), int(minor)


CHECKS: dict[str, Callable[[Path], Iterator[str]]] = {
    "bench.train": _training,
    "bench.collectives": _collectives,
    "bench.consensus": _tables(rounds.TABLES, rounds.read_rounds, rounds.round_flaws),
    "bench.simulate": _tables(
        simulations.tables_of, simulations.read_simulation, simulations.step_flaws
    ),
    "bench.chaos": _tables(chaos.TABLES, chaos.read_chaos, chaos.run_flaws),
    "bench.pipeline": _tables(pipelines.TABLES, pipelines.read_pipeline, pipelines.pipeline_flaws),
}
