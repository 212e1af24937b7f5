"""Whether a result file is what its schema says, and its summary what its raw rows say."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from algorithms.wire.meter import PHASES
from bench.common.spec import case_hash
from bench.results import contents, layout, summary
from bench.results.calls import Calls, read_calls
from bench.results.origin import program_of
from bench.results.reader import BrokenFileError, read
from bench.results.rounds import Rounds, read_rounds
from bench.results.run import Run
from bench.results.schema import COMPLETE, DIVERGED, FAILED, PART, PREEMPTED, RUNNING, WARMUP
from bench.results.statistics import median_interval

STATES = (RUNNING, COMPLETE, DIVERGED, FAILED, PREEMPTED)
SHA256 = re.compile("[0-9a-f]{64}")


def flaws(path: Path) -> list[str]:
    """What is wrong with a file, a line each; empty where it is valid."""
    program = program_of(path)
    if program not in CHECKS:
        if program == PART:
            return ["holds steps of some ranks only: put the run together by bench.merge"]
        return [f"written by {program!r}, not by {', '.join(CHECKS)}"]
    try:
        return list(dict.fromkeys(CHECKS[program](path)))
    except BrokenFileError as error:
        return [str(error).removeprefix(f"{path}: ")]
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, IndexError) as error:
        return [f"the parts do not fit together: {contents.brief(error)}"]


def _training(path: Path) -> Iterator[str]:
    run = read(path)
    new = _version(run.attributes) >= (1, 3)
    with h5py.File(path, "r") as file:
        yield from layout.flaws(file, layout.TRAINING)
        if new:
            yield from layout.flaws(file, layout.SINCE_1_3)
        if "events" in file:
            yield from layout.flaws(file, layout.TRACED)
        begins = [0]
        if _version(run.attributes) >= (1, 4):
            yield from layout.flaws(file, layout.SINCE_1_4)
            begins = file["attempts/row"][()].tolist()
        segments = {x: file[f"segments/{x}"][()] for x in ("first", "steps")} if new else {}
        stored = {x: file["summary"][x][()] for x in file.get("summary", {})}
    yield from _attributes(run.attributes)
    yield from _steps(run, begins)
    yield from _evaluations(run)
    if segments:
        yield from _segments(run, segments)
    if run.status in (COMPLETE, DIVERGED) and not SHA256.fullmatch(
        str(run.attributes.get("parameters_sha256", ""))
    ):
        yield "parameters_sha256 is no SHA-256, of a run that ended"
    yield from summary.flaws(run, stored)
    if new and run.status in (COMPLETE, DIVERGED) and not stored:
        yield "summary is missing, of a run that ended"


def _attributes(attributes: Any) -> Iterator[str]:
    """What every result says of itself."""
    if attributes["status"] not in STATES:
        yield f"status is {contents.brief(repr(attributes['status']))}, not {', '.join(STATES)}"
    if attributes["status"] == COMPLETE and not attributes.get("closed_utc"):
        yield "closed_utc is missing, of a file that is complete"
    params = json.loads(attributes["params_json"])
    expected = case_hash(params, int(attributes["ranks"]))
    if attributes.get("case_hash", expected) != expected:
        yield f"case_hash is {attributes['case_hash']}, params_json gives {expected}"


def _steps(run: Run, begins: list[int]) -> Iterator[str]:
    """Raw rows that no clock and no counter could have given.

    begins: the first row of every attempt, which has clocks of its own.
    """
    train, taken = run.train, run.taken()
    if [x.decode() for x in train["phase"]] != list(PHASES):
        yield f"train/phase is not {', '.join(PHASES)}"
    for name in ("phase_ns", "bytes_sent", "bytes_copied", "messages"):
        if (train[name] < 0).any():
            yield f"train/{name} has values below 0"
        if (train[name][~taken] != 0).any():
            yield f"train/{name} is not 0 where a rank took no step"
    if (train["step"] != np.arange(len(train["step"]))).any():
        yield "train/step does not count from 0"
    duration = train["phase_ns"].sum(2)
    attempt = np.searchsorted(begins, np.arange(len(taken)), side="right")
    for rank in range(taken.shape[1]):
        mine = taken[:, rank]
        start, same = train["start_ns"][mine, rank], np.diff(attempt[mine]) == 0
        if (same & (start[1:] < (start + duration[mine, rank])[:-1])).any():
            yield f"rank {rank} began a step before it had ended the one before"


def _segments(run: Run, segments: dict[str, Any]) -> Iterator[str]:
    """Whether segments and flags fit the steps."""
    if segments["steps"].sum() != len(run.train["flags"]):
        yield "segments/steps do not add up to the rows of train"
        return
    begins = np.cumsum(segments["steps"]) - segments["steps"]
    number = np.arange(len(run.train["flags"])) + np.repeat(
        segments["first"] - begins, segments["steps"]
    )
    warm = number < int(run.params.get("warmup", 0))
    if (((run.train["flags"] & WARMUP) != 0) != warm).any():
        yield "train/flags do not mark the warm-up that params_json has"


def _evaluations(run: Run) -> Iterator[str]:
    """Whether evaluations follow each other, and the target is told as it was met."""
    evals = run.evals
    for name in ("step", "samples", "elapsed_ns"):
        if (np.diff(evals[name]) < 0).any():
            yield f"eval/{name} falls"
    each = int(run.attributes["batch"]) * int(run.attributes["workers"])
    if (evals["samples"] != evals["step"] * each).any():
        yield "eval/samples are not steps times batch times workers"
    target = run.attributes.get("target")
    if target is not None and run.status == COMPLETE and len(evals["metric"]):
        sign = -1 if run.attributes.get("metric_direction") == "min" else 1
        met = sign * float(evals["metric"][-1]) >= sign * float(target)
        if met != bool(run.attributes.get("target_reached", False)):
            yield f"target_reached does not say what the last evaluation does of {target}"


def _collectives(path: Path) -> Iterator[str]:
    calls = read_calls(path)
    with h5py.File(path, "r") as file:
        yield from layout.flaws(file, layout.COLLECTIVES)
        rows = file["calls/row"][()]
    yield from _attributes(calls.attributes)
    yield from _calls(calls, rows)


def _calls(calls: Calls, rows: Any) -> Iterator[str]:
    table = calls.table
    if (table["first"] != np.cumsum(table["n"]) - table["n"]).any() or (table["n"] < 1).any():
        yield "rows/first and rows/n do not lie end to end"
        return
    if (rows != np.repeat(np.arange(len(table["n"])), table["n"])).any():
        yield "calls/row does not say what rows/first and rows/n do"
    if (calls.duration_ns <= 0).any():
        yield "calls/duration_ns has values of 0 or below"
    for i, said in enumerate(table["converged"]):
        median, low, high = median_interval(calls.duration_ns[calls.span(i)].max(1))
        if said and max(high - median, median - low) > float(calls.attributes["ci"]) * median:
            yield f"row {i} is told as converged, its calls give another interval"


def _consensus(path: Path) -> Iterator[str]:
    found = read_rounds(path)
    with h5py.File(path, "r") as file:
        yield from layout.flaws(file, layout.CONSENSUS)
    yield from _attributes(found.attributes)
    yield from _rounds(found)


def _rounds(found: Rounds) -> Iterator[str]:
    for case, said in enumerate(found.cases["reached"]):
        error = found.rounds["error"][found.span(case)]
        if bool(said) != bool(error[-1] <= float(found.attributes["tolerance"])):
            told = "reached" if said else "not reached"
            yield f"case {case} is told as {told}, its errors say otherwise"
        if (found.rounds["k"][found.span(case)] != np.arange(1, len(error) + 1)).any():
            yield f"the rounds of case {case} are not counted from 1"
    if (found.rounds["duration_ns"] < 0).any():
        yield "rounds/duration_ns has values below 0"


def _version(attributes: Any) -> tuple[int, int]:
    major, _, minor = str(attributes["schema_version"]).partition(".")
    return int(major), int(minor)


CHECKS: dict[str, Callable[[Path], Iterator[str]]] = {
    "bench.train": _training,
    "bench.collectives": _collectives,
    "bench.consensus": _consensus,
}
