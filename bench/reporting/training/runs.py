"""Digests of the training runs of a report: settings, derived numbers, curves, and provenance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.common.labels import Options
from bench.common.text import Setting
from bench.results import decisions, epochs, lost
from bench.results.environment import SHA_DIGITS, input_sums
from bench.results.provenance import derive_from, provenance
from bench.results.reader import DIGESTED, Run, read
from bench.results.rows import TrainingRow

POINTS = 200
"""Maximum number of points of a curve."""
BINS = 60
"""Maximum number of parts of a run whose median steps show drift and noise."""
ATTRIBUTES = ("optimizer", "allreduce", "workers", "ranks", "batch")
PARAMS = ("steps", "dtype", "target", "eval_every", "warmup")
OPTIONAL = (
    *("epochs", "schedule", "clip", "accumulate", "patience", "wire", "controller", "pipeline"),
    *("device", "staleness", "data", "validation", "answer", "clock", "compute"),
    *("straggler", "drop", "link", "loss_bursts", "churn"),
)
"""Settings that are None where they are not given."""
DATA = "data sha256"
"""Setting that identifies the data."""
INPUTS = "inputs"
"""Setting that identifies the other files that a run reads."""
SOURCES = "sources"
"""Setting that identifies the user's own code."""
IDENTITY = (
    "data_sha256",
    "inputs_json",
    "case_hash",
    "run_uuid",
    "attempt",
    "suite_version",
    "schema_version",
)
"""Attributes that identify the run, the data and the version of the suite."""


@dataclass(frozen=True)
class Digest:
    """One run without its raw steps, small enough to keep thousands in memory."""

    row: TrainingRow
    """Settings and derived numbers, Run.row()."""
    task: str
    """Task with the options of its label."""
    direction: str
    """`max` if a larger metric is better, else `min`."""
    settings: dict[str, Setting]
    """All settings but task and seed; equal settings make one case.

    Partition and algorithm are last, so that sorting by settings groups the algorithms.
    """
    interval: int
    """Steps from one exchange of parameters to the next; 1 if evaluations cannot be between two."""
    options: Options
    """Options of task, algorithm, partition and optimizer; empty for an old file."""
    curve: dict[str, NDArray[np.float64]]
    """step, elapsed_s, bytes (moved per worker), metric, consensus: one value per evaluation."""
    phase_ms: dict[str, float]
    """Time of a step in each phase, mean over ranks, ms; NaN without steps."""
    spread_ms: tuple[float, float]
    """5th and 95th percentile of the step; NaN without steps."""
    timed: int
    """Number of timed steps."""
    rank_ms: NDArray[np.float32]
    """(ranks, phases) float32, mean ms of the timed steps that the rank took; NaN without any."""
    rank_hosts: list[str]
    """Host of each rank; empty if the file does not contain it."""
    drift: NDArray[np.float32]
    """(at most BINS, 2) float32, last step of each part of the run and its median step in ms."""
    provenance: dict[str, str]
    """Label -> text: the command, the hosts and the software of the run."""
    decided: decisions.Decisions | None = None
    """Choices of the controller; None without one."""
    alive: NDArray[np.int64] | None = None
    """(changes, 2) int64, first step and the workers alive from it on; None if none ever died."""


def load(path: Path) -> Digest:
    """Read and digest a result file.

    Errors: BrokenFileError, also for a file whose parts do not fit together.
    """
    run = read(path, DIGESTED)
    return derive_from(path, lambda: digest(run))


def digest(run: Run) -> Digest:
    """Return the data of a run that the report needs."""
    row, params, timed = run.row(), run.params, int(run.timed.sum())
    settings: dict[str, Setting] = {name: run.attributes[name] for name in ATTRIBUTES}
    settings |= {name: params.get(name) for name in PARAMS}
    settings |= {name: params.get(name) or None for name in OPTIONAL}
    interval = _interval(run, params)
    at_steps = interval > 1 and "eval_at" not in params
    settings["eval_at"] = "step" if at_steps else None
    settings["threads"] = run.attributes.get("threads_per_rank")
    settings[DATA] = row.data_sha256[:SHA_DIGITS] or None
    recorded = "inputs_json" in run.attributes
    settings[INPUTS] = input_sums(run.attributes, SHA_DIGITS) if recorded else None
    sources = {x: str(sha)[:SHA_DIGITS] for x, sha in params.get(SOURCES, {}).items()}
    settings[SOURCES] = ", ".join(f"{x} {sha}" for x, sha in sorted(sources.items())) or None
    settings |= run.environment().settings()
    settings |= {name: run.attributes[name] for name in ("partition", "algorithm")}
    ms = run.step_ns() / 1e6
    low, high = np.quantile(ms, [0.05, 0.95]) if timed else (np.nan, np.nan)
    return Digest(
        row=row,
        task=row.task,
        direction=str(run.attributes["metric_direction"]),
        settings=settings,
        interval=interval,
        options=params.get("options", {}),
        curve=curve(run, POINTS),
        phase_ms=run.phase_ms(),
        spread_ms=(float(low), float(high)),
        timed=timed,
        rank_ms=_rank_ms(run),
        rank_hosts=[x.decode(errors="replace") for x in run.ranks.get("host", ())],
        drift=_drift(ms),
        provenance=everything(run),
        decided=decisions.read(run.path) if row.controller else None,
        alive=epochs.alive(epochs.read(run.path), row.workers) if row.deaths else None,
    )


def _interval(run: Run, params: Mapping[str, Any]) -> int:
    """Return the steps from one exchange of parameters to the next.

    Files before version 1.5 have no interval, but the period among the algorithm's options.
    """
    options = params.get("options", {}).get("algorithm", {})
    return int(run.attributes.get("exchange_interval", options.get("period", 1)))


def _rank_ms(run: Run) -> NDArray[np.float32]:
    spent = run.train["phase_ns"][run.timed].sum(0, dtype=float) / 1e6
    steps = run.step_mask()[run.timed].sum(0).astype(float)
    mean = spent / np.where(steps > 0, steps, np.nan)[:, None]
    return np.asarray(mean, np.float32).reshape(-1, spent.shape[1])


def _drift(ms: NDArray[np.float64]) -> NDArray[np.float32]:
    parts = [part for part in np.array_split(ms, BINS) if len(part)]
    ends = np.cumsum([len(part) for part in parts])
    rows = [(end, np.median(part)) for end, part in zip(ends, parts, strict=True)]
    return np.array(rows, np.float32).reshape(-1, 2)


def curve(run: Run, most: int) -> dict[str, NDArray[np.float64]]:
    """Return Digest.curve of at most `most` evaluations, evenly spaced."""
    evals, train = run.evals, run.train
    n = len(evals["step"])
    chosen = np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))
    moved = np.cumsum((train["bytes_sent"] + train["bytes_copied"]).sum(1, dtype=float))
    moved = np.concatenate([[0.0], moved]) / int(run.attributes["workers"])
    step = evals["step"][chosen]
    return {
        "step": step.astype(float),
        "elapsed_s": evals["elapsed_ns"][chosen] / 1e9,
        "bytes": moved[np.minimum(step, len(moved) - 1)],
        "metric": evals["metric"][chosen].astype(float),
        "consensus": evals["consensus"][chosen].astype(float),
    }


def everything(run: Run) -> dict[str, str]:
    """Return the provenance common to all results, and the settings and identity of this run."""
    texts = provenance(run)
    file = texts.pop("file")
    texts["settings"] = _spelled(run.params)
    environment = json.loads(run.texts.get("environment", "{}"))
    texts["environment"] = " ".join(f"{key}={value}" for key, value in environment.items())
    texts["lost"] = lost.text(run.path) if run.attributes.get("ranks_lost") else ""
    texts |= {x.replace("_", " "): str(run.attributes.get(x, "")) for x in IDENTITY}
    return {key: text for key, text in texts.items() if text} | {"file": file}


def _spelled(params: Mapping[str, Any]) -> str:
    """Return all explicit settings as a text, with options in brackets."""
    options = {key.replace("_", " "): x for key, x in params.items() if x not in (None, "", {})}
    texts = (f"[{_spelled(x)}]" if isinstance(x, dict) else str(x) for x in options.values())
    return ", ".join(f"{key} {text}" for key, text in zip(options, texts, strict=True))
