"""Report of bench.chaos: useful steps and time, recovery and final metric of each strategy."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.common.text import NONE, Setting, TextTable, counted, format_number
from bench.reporting.chapter import Chapter, Figure, Sentence, Source
from bench.reporting.launches import Launch, group_launches, launch_notes, rows_frame
from bench.results.chaos import Chaos, read_chaos
from bench.results.provenance import derive_from, provenance, read_origin
from bench.results.rows import ChaosRow
from bench.results.schema import COMPLETE
from bench.results.statistics import median_interval

if TYPE_CHECKING:
    import pandas as pd

QUESTION = "How training outlasts faults"
CALM = "calm"
"""Strategy without faults."""
SETTINGS = ("task", "algorithm", "workers", "steps")
NOTES = [
    "medians over the plans with 95 % intervals, with fewer than 6 plans the smallest and the "
    "largest value, of the runs that ended well; calm: the run without faults",
    "useful steps: of all steps computed; useful time: training time of the steps, each once, of "
    "the time from the first evaluation to the last step, which includes all evaluations",
    "detection, recovery: from a fault to its detection, and to the end of the next step, median "
    "of a run; taking part: share of the workers, mean over the steps; equal bits: runs with the "
    "parameters of the calm run",
]


def load(path: Path) -> Launch[ChaosRow]:
    """Read a file and derive its rows. Errors: BrokenFileError."""
    return derive_from(path, lambda: _launch(read_chaos(path)))


def _launch(result: Chaos) -> Launch[ChaosRow]:
    run = read_origin(result.path, result.attributes)
    params = json.loads(result.attributes["params_json"])
    training = params.get("training", {})
    settings: dict[str, Setting] = {name: training.get(name) for name in SETTINGS}
    settings |= {"ranks": int(result.attributes["ranks"]), "faults": params.get("faults")}
    settings |= {"kinds": ", ".join(params.get("kinds", ()))}
    settings |= {"metric": str(result.attributes["metric_name"])}
    settings |= run.environment().settings()
    label = f"chaos, {settings['algorithm']}, seed {result.attributes['seed']}"
    return Launch(settings, result.rows(), Source(label, run.status, provenance(run)))


def frame(launches: Sequence[Launch[ChaosRow]]) -> pd.DataFrame:
    """Return a row per run of every file."""
    return rows_frame(launches, ("strategy",))


def summary(launches: Sequence[Launch[ChaosRow]]) -> str:
    """Return the numbers of files and runs."""
    runs = sum(len(launch.rows) for launch in launches)
    return f"{counted(len(launches), 'file')} of bench.chaos: {counted(runs, 'run')}"


def chapters(launches: Sequence[Launch[ChaosRow]]) -> list[Chapter]:
    """Return one chapter: a table per condition, over the plans of all its files."""
    same, groups = group_launches(launches)
    measured = [
        (group.condition, [row for launch in group.launches for row in launch.rows])
        for group in groups
    ]
    metric = str(launches[0].settings["metric"])
    return [
        Chapter(
            title="Faults: useful steps, recovery and final metric",
            summary=f"bench.chaos, {same}",
            tables=[text_table(condition, rows, metric) for condition, rows in measured if rows],
            notes=[*NOTES, *launch_notes(launches, (), "plans")],
            sources=[launch.source for launch in launches],
            draw=partial(_draw, measured),
            sentences=[x for condition, rows in measured for x in sentences(condition, rows)],
        )
    ]


def _draw(measured: Sequence[tuple[str, Sequence[ChaosRow]]]) -> list[Figure]:
    from bench.reporting.chaos.charts import figures

    return figures(measured)


def by_strategy(rows: Sequence[ChaosRow]) -> dict[str, list[ChaosRow]]:
    """Return the rows of each strategy, in order."""
    groups: dict[str, list[ChaosRow]] = {}
    for row in rows:
        groups.setdefault(row.strategy, []).append(row)
    return groups


def _percent(share: float) -> str:
    return format_number(100 * share, 3)


COLUMNS: dict[str, tuple[str, Callable[[float], str]]] = {
    "useful steps %": ("goodput", _percent),
    "useful time %": ("useful_share", _percent),
    "elapsed s": ("elapsed_s", partial(format_number, digits=3)),
    "steps lost": ("steps_lost", "{:g}".format),
    "detection ms": ("detection_ms", lambda x: format_number(x, 3)),
    "recovery s": ("recovery_ms", lambda x: format_number(x / 1e3, 2)),
    "taking part %": ("participation", _percent),
}
"""Title -> column of the rows, and the form of its numbers."""


def text_table(condition: str, rows: Sequence[ChaosRow], metric: str) -> TextTable:
    """Return the table of a condition with a row per strategy; rows: not empty."""
    columns = {**COLUMNS, metric: ("metric", lambda x: format_number(x, 3))}
    groups = by_strategy(rows)
    cells = []
    for name, some in groups.items():
        good = [row for row in some if row.status == COMPLETE]
        numbers = [_cell(good, *column) for column in columns.values()]
        same = f"{sum(row.same_bits for row in good)} of {len(good)}"
        cells.append([name, f"{len(good)} of {len(some)}", *numbers, same])
    return TextTable(
        heading=condition,
        header=["strategy", "complete", *columns, "equal bits"],
        rows=cells,
        states=[
            COMPLETE if all(x.status == COMPLETE for x in some) else "failed"
            for some in groups.values()
        ],
        words=1,
    )


def _cell(rows: Sequence[ChaosRow], name: str, form: Callable[[float], str]) -> str:
    """Return the median of a column over the runs that have it, and its interval."""
    middle, low, high = interval(rows, name)
    if np.isnan(middle):
        return NONE
    return form(middle) + (f" [{form(low)}, {form(high)}]" if low < high else "")


def interval(rows: Sequence[ChaosRow], name: str) -> tuple[float, float, float]:
    """Return the median of a column over the runs that have it, and its interval; or NaN."""
    values: Any = np.array([row.number(name) for row in rows], float)
    return median_interval(values[~np.isnan(values)])


def sentences(condition: str, rows: Sequence[ChaosRow]) -> list[Sentence]:
    """Return the strategy that recovers first, and how often each ended well."""
    groups = {name: some for name, some in by_strategy(rows).items() if name != CALM}
    times = {name: interval(some, "recovery_ms")[0] for name, some in groups.items()}
    ranked = sorted((name for name in times if not np.isnan(times[name])), key=times.__getitem__)
    texts = []
    if len(ranked) > 1:
        first, last = ranked[0], ranked[-1]
        least, most = (format_number(times[name] / 1e3, 3) for name in (first, last))
        texts.append(
            f"After a fault, {first} takes the next step within {least} s, {last} within {most} s "
            "(medians)"
        )
    for name, some in groups.items():
        bad = sum(row.status != COMPLETE for row in some)
        if bad:
            texts.append(f"{bad} of {counted(len(some), 'run')} by {name} did not end well")
    return [Sentence(f"{x} ({condition})" if condition else x, ["recovery"]) for x in texts]
