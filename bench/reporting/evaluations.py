"""Evaluations of training runs as rows with their settings, for --curves."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.reporting.training.runs import Digest, curve
from bench.results.guard import BrokenFileError, readings
from bench.results.provenance import derive_from
from bench.results.reader import DIGESTED, Run, read

if TYPE_CHECKING:
    import pandas as pd


def evaluations(path: Path) -> dict[str, list[float]]:
    """Read every evaluation of a run: column -> one value each. Errors: BrokenFileError."""
    if path.suffix == ".part" and not path.exists():
        path = path.with_suffix("")  # the run ended meanwhile
    run = read(path, DIGESTED)
    return derive_from(path, lambda: _columns(run))


def _columns(run: Run) -> dict[str, list[float]]:
    columns = curve(run, len(run.evals["step"]))
    columns |= {x: run.evals[x] for x in run.evals if x not in ("index", "elapsed_ns")}
    return {name: values.tolist() for name, values in columns.items()}


def frame(runs: Sequence[Digest]) -> tuple[pd.DataFrame, list[str]]:
    """Return a row per evaluation of every run, and a line for each file that cannot be read."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    broken = []
    files = [Path(run.row.file) for run in runs]
    with closing(readings(files, evaluations)) as answers:
        for run, columns in zip(runs, answers, strict=True):
            if isinstance(columns, BrokenFileError):
                broken.append(str(columns))
                continue
            settings = _settings(run)
            names, values = tuple(columns), zip(*columns.values(), strict=True)
            rows += [settings | dict(zip(names, some, strict=True)) for some in values]
    return pd.DataFrame(rows, columns=None if rows else list(_settings(runs[0]))), broken


def _settings(run: Digest) -> dict[str, Any]:
    row = run.row
    first = {x: run.settings[x] for x in ("algorithm", "partition")}
    settings = {x.replace(" ", "_"): value for x, value in (first | run.settings).items()}
    where = {"seed": row.seed, "status": row.status, "file": row.file}
    return {"task": row.task, **settings, **where, "metric_name": row.metric_name}
