"""What a report keeps of a training run: its row, settings and curve; raw steps are let go."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algorithms.wire.meter import PHASES
from bench.common.text import Setting
from bench.results.origin import derived, machine, provenance
from bench.results.reader import DIGESTED, Run, read

POINTS = 200
"""Most points of a curve."""
BINS = 60
"""Most parts that the steps of a run are divided into, to see drift and noise."""
ATTRIBUTES = ("optimizer", "allreduce", "workers", "ranks", "batch")
PARAMS = ("steps", "dtype", "target", "eval_every", "warmup")
TROUBLE = ("data", "straggler", "drop", "link")
IDENTITY = ("data_sha256", "case_hash", "run_uuid", "attempt", "suite_version", "schema_version")
"""Attributes that say which run, which data, which suite it was."""


@dataclass(frozen=True)
class Digest:
    """One run, small enough to hold thousands of."""

    row: dict[str, Any]
    """Run.row()."""
    direction: str
    """Whether the metric is to be `max` or `min`."""
    settings: dict[str, Setting]
    """Everything that was chosen but task and seed: equal settings make one case. Partition and
    algorithm stand last: what is sorted by settings has the algorithms beside each other."""
    curve: dict[str, NDArray[np.float64]]
    """step, elapsed_s, bytes (moved by a worker), metric, consensus: one value an evaluation."""
    phase_ms: dict[str, float]
    """The median step divided by the phases' shares of all timed steps; NaN without steps."""
    spread_ms: tuple[float, float]
    """5th and 95th percentile of the step; NaN without steps."""
    timed: int
    """Number of steps behind the times."""
    rank_ms: NDArray[np.float32]
    """(ranks, phases) mean milliseconds of the timed steps that the rank took; NaN without."""
    rank_hosts: list[str]
    """The host of each rank; empty where the file does not say."""
    drift: NDArray[np.float32]
    """(at most BINS, 2) step at the end of a part of the run, and the median of its steps, ms."""
    provenance: dict[str, str]
    """Label -> text: how the run was started, where, with what."""


def load(path: Path) -> Digest:
    """Read and digest a result file.

    Errors: BrokenFileError, also for a file whose parts do not fit together.
    """
    run = read(path, DIGESTED)
    return derived(path, lambda: digest(run))


def digest(run: Run) -> Digest:
    """What the report needs of a run."""
    row, params, timed = run.row(), run.params, int(run.timed.sum())
    settings: dict[str, Setting] = {name: run.attributes[name] for name in ATTRIBUTES}
    settings |= {name: params.get(name) for name in PARAMS}
    settings |= {name: params.get(name) or None for name in TROUBLE}
    settings["threads"] = run.attributes.get("threads_per_rank")
    settings["suite version"] = run.attributes.get("suite_version")
    settings["processor"] = machine(run).get("processor")
    settings |= {name: run.attributes[name] for name in ("partition", "algorithm")}
    ms = run.step_ns() / 1e6
    low, high = np.quantile(ms, [0.05, 0.95]) if timed else (np.nan, np.nan)
    return Digest(
        row=row,
        direction=str(run.attributes["metric_direction"]),
        settings=settings,
        curve=_curve(run),
        phase_ms={name: x * row["step_ms_p50"] for name, x in run.phase_share().items()},
        spread_ms=(float(low), float(high)),
        timed=timed,
        rank_ms=_rank_ms(run),
        rank_hosts=[x.decode(errors="replace") for x in run.ranks.get("host", ())],
        drift=_drift(ms),
        provenance=_everything(run),
    )


def _everything(run: Run) -> dict[str, str]:
    """What every result says of itself, and all that was set and found for this one."""
    said = provenance(run)
    file = said.pop("file")
    said["settings"] = _spelled(run.params)
    environment = json.loads(run.texts.get("environment", "{}"))
    said["environment"] = " ".join(f"{key}={value}" for key, value in environment.items())
    said |= {x.replace("_", " "): str(run.attributes.get(x, "")) for x in IDENTITY}
    return {key: text for key, text in said.items() if text} | {"file": file}


def _spelled(params: Mapping[str, Any]) -> str:
    """Every setting that was made; options of a name in brackets."""
    made = {key.replace("_", " "): x for key, x in params.items() if x not in (None, "", {})}
    texts = (f"[{_spelled(x)}]" if isinstance(x, dict) else str(x) for x in made.values())
    return ", ".join(f"{key} {text}" for key, text in zip(made, texts, strict=True))


def _rank_ms(run: Run) -> NDArray[np.float32]:
    spent = run.train["phase_ns"][run.timed].sum(0, dtype=float) / 1e6
    taken = run.taken()[run.timed].sum(0).astype(float)
    mean = spent / np.where(taken > 0, taken, np.nan)[:, None]
    return np.asarray(mean, np.float32).reshape(-1, len(PHASES))


def _drift(ms: NDArray[np.float64]) -> NDArray[np.float32]:
    parts = [part for part in np.array_split(ms, BINS) if len(part)]
    ends = np.cumsum([len(part) for part in parts])
    made = [(end, np.median(part)) for end, part in zip(ends, parts, strict=True)]
    return np.array(made, np.float32).reshape(-1, 2)


def _curve(run: Run) -> dict[str, NDArray[np.float64]]:
    evals, train = run.evals, run.train
    n = len(evals["step"])
    chosen = np.unique(np.linspace(0, n - 1, min(n, POINTS)).round().astype(int))
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
