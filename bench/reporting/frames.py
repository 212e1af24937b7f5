"""The frames behind the charts of a section: one row a mark.

`run` is the place of the mark's run in the section; a mark of several runs has `case` instead, the
place of its case. Filters of the page go by them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from bench.reporting.cases import Section, median_run
from bench.reporting.digest import POINTS, Digest
from bench.results.schema import COMPLETE

Row: TypeAlias = dict[str, Any]

MARKS = 12_000
"""Most rows of a frame, as far as curves can be thinned and cases left out."""
LEAST = 6
"""A curve is thinned to no fewer points."""
CROWD = 120
"""More runs than this are drawn as the medians of their cases."""
COLUMNS = ("step", "elapsed_s", "bytes", "metric", "consensus")
"""Of a curve."""


def curves(section: Section) -> pd.DataFrame:
    """An evaluation a row, of every run; `ended` is set at the last of an incomplete one.

    Evaluations with a metric that is no number are left out.
    """
    rows: list[Row] = []
    most = max(LEAST, min(POINTS, MARKS // max(1, len(section.runs))))
    for number, run in enumerate(section.runs):
        finite = np.flatnonzero(np.isfinite(run.curve["metric"]))
        said = about(section, run) | {"run": number}
        for i in (kept := thinned(finite, most)):
            values = {name: brief(run.curve[name][i]) for name in COLUMNS}
            ended = run.row["status"] if i == kept[-1] else COMPLETE
            rows.append(said | values | {"ended": ended})
    return framed(rows, [*COLUMNS, "run", "ended"])


def bands(section: Section) -> pd.DataFrame:
    """A step a row at which all runs of a complete case were evaluated: medians, and the smallest
    and the largest metric, `low` and `high`.
    """
    rows: list[Row] = []
    cases = list(complete(section))
    most = max(LEAST, min(POINTS, MARKS // max(1, len(cases))))
    for number, case in cases:
        same = set.intersection(*(set(run.curve["step"].tolist()) for run in case))
        if not same:
            continue
        at = [np.isin(run.curve["step"], list(same)) for run in case]
        values = {
            name: np.array([run.curve[name][x] for run, x in zip(case, at, strict=True)])
            for name in COLUMNS
        }
        middle = {name: np.median(some, 0) for name, some in values.items()}
        middle |= {"low": values["metric"].min(0), "high": values["metric"].max(0)}
        said = about(section, case[0]) | {"case": number, "seed": f"{len(case)} runs"}
        finite = np.flatnonzero(np.isfinite(values["metric"]).all(0))
        for i in thinned(finite, most):
            row = {name: brief(some[i]) for name, some in middle.items()}
            rows.append(said | row | {"ended": COMPLETE})
    return framed(rows, [*COLUMNS, "low", "high", "case", "ended"])


def finals(section: Section) -> pd.DataFrame:
    """Two rows a complete run: the final metric of the mean model and of the worst worker."""
    rows = [
        about(section, run) | {"run": number, "model": model, "metric": brief(run.row[name])}
        for number, run in enumerate(section.runs)
        if run.row["status"] == COMPLETE
        for model, name in (("mean model", "metric"), ("worst worker", "metric_worst"))
        if math.isfinite(run.row[name])
    ]
    return framed(rows, ["run", "model", "metric"])


def phases(section: Section) -> pd.DataFrame:
    """A phase a row, of the median run of every complete case: ms of the median step."""
    rows: list[Row] = []
    for number, case in complete(section):
        run = median_run(case)
        total = run.row["step_ms_p50"]
        rows += [
            about(section, run)
            | {"case": number, "phase": name, "order": i}
            | {"ms": brief(ms), "share": brief(ms / total)}
            for i, (name, ms) in enumerate(run.phase_ms.items())
            if math.isfinite(ms) and total > 0
        ]
    return framed(rows, ["case", "phase", "order", "ms", "share"])


def steps(section: Section) -> pd.DataFrame:
    """The median run of every complete case: step, its interval, its percentiles, in ms."""
    rows: list[Row] = []
    for number, case in complete(section):
        run = median_run(case)
        p50, lo, hi = (brief(run.row[f"step_ms_{x}"]) for x in ("p50", "lo", "hi"))
        p05, p95 = map(brief, run.spread_ms)
        values = {"p50": p50, "lo": lo, "hi": hi, "p05": p05, "p95": p95, "n": run.timed}
        if math.isfinite(p50):
            rows.append(about(section, run) | {"case": number} | values)
    return framed(rows, ["case", "p50", "lo", "hi", "p05", "p95", "n"])


def complete(section: Section) -> Iterator[tuple[int, list[Digest]]]:
    """The cases of complete runs, each with its place among all cases."""
    for number, case in enumerate(section.cases()):
        if case[0].row["status"] == COMPLETE:
            yield number, case


def about(section: Section, run: Digest) -> Row:
    """What every mark says of its run."""
    return {
        "algorithm": str(run.settings["algorithm"]),
        "condition": section.condition(run),
        "seed": run.row["seed"],
        "status": run.row["status"],
    }


def framed(rows: list[Row], values: Sequence[str]) -> pd.DataFrame:
    """The rows as a frame that has its columns without rows, too."""
    return pd.DataFrame(rows, columns=["algorithm", "condition", "seed", "status", *values])


def thinned(places: np.ndarray[Any, Any], most: int) -> list[int]:
    """At most so many of the places, evenly, the first and the last among them."""
    n = len(places)
    chosen = np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))
    kept: list[int] = places[chosen].tolist()
    return kept


def brief(value: float) -> float:
    """Six significant digits: more than a screen shows, half the bytes."""
    return float(f"{value:.6g}")
