"""The frames behind the charts of a section: one row a mark."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from bench.results.cases import Section, median_run
from bench.results.digest import Digest
from bench.results.schema import COMPLETE


def curves(section: Section) -> pd.DataFrame:
    """An evaluation a row, of every run; `ended` is set at the last of an incomplete one.

    Evaluations with a metric that is no number are left out.
    """
    rows: list[dict[str, Any]] = []
    for number, run in enumerate(section.runs):
        finite = [i for i, x in enumerate(run.curve["metric"]) if math.isfinite(x)]
        for i in finite:
            values = {name: brief(column[i]) for name, column in run.curve.items()}
            ended = run.row["status"] if i == finite[-1] else COMPLETE
            rows.append(_about(section, run) | values | {"run": number, "ended": ended})
    names = ["step", "elapsed_s", "bytes", "metric", "consensus", "run", "ended"]
    return _frame(rows, names)


def finals(section: Section) -> pd.DataFrame:
    """Two rows a complete run: the final metric of the mean model and of the worst worker."""
    rows = [
        _about(section, run) | {"model": model, "metric": brief(run.row[name])}
        for case in section.complete()
        for run in case
        for model, name in (("mean model", "metric"), ("worst worker", "metric_worst"))
        if math.isfinite(run.row[name])
    ]
    return _frame(rows, ["model", "metric"])


def phases(section: Section) -> pd.DataFrame:
    """A phase a row, of the median run of every complete case: ms of the median step."""
    rows: list[dict[str, Any]] = []
    for case in section.complete():
        run = median_run(case)
        total = run.row["step_ms_p50"]
        rows += [
            _about(section, run) | {"phase": name, "order": i, "ms": ms, "share": ms / total}
            for i, (name, ms) in enumerate(run.phase_ms.items())
            if math.isfinite(ms) and total > 0
        ]
    return _frame(rows, ["phase", "order", "ms", "share"])


def steps(section: Section) -> pd.DataFrame:
    """The median run of every complete case: step, its interval, its percentiles, in ms."""
    rows = []
    for run in map(median_run, section.complete()):
        p50, lo, hi = (brief(run.row[f"step_ms_{x}"]) for x in ("p50", "lo", "hi"))
        p05, p95 = map(brief, run.spread_ms)
        values = {"p50": p50, "lo": lo, "hi": hi, "p05": p05, "p95": p95, "n": run.timed}
        if math.isfinite(p50):
            rows.append(_about(section, run) | values)
    return _frame(rows, ["p50", "lo", "hi", "p05", "p95", "n"])


def _about(section: Section, run: Digest) -> dict[str, Any]:
    return {
        "algorithm": str(run.settings["algorithm"]),
        "condition": section.condition(run),
        "seed": run.row["seed"],
        "status": run.row["status"],
    }


def _frame(rows: list[dict[str, Any]], values: list[str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["algorithm", "condition", "seed", "status", *values])


def brief(value: float) -> float:
    """Six significant digits: more than a screen shows, half the bytes."""
    return float(f"{value:.6g}")
