"""Report of bench.simulate: step time and efficiency of algorithms by the number of workers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.common.text import NONE, Setting, TextTable, counted, figure, percent
from bench.reporting.chapter import Chapter, Figure, Sentence, Source
from bench.reporting.launches import (
    Group,
    Launch,
    group_launches,
    launch_notes,
    median_columns,
    rows_frame,
)
from bench.results.provenance import derive_from, provenance, read_origin
from bench.results.rows import SimulationRow
from bench.results.schema import COMPLETE, MODEL, SIMGRID
from bench.results.simulations import Simulation, read_simulation

if TYPE_CHECKING:
    import pandas as pd

QUESTION = "How step times grow with the number of workers"
SETTINGS = ("compute", "link", "straggler", "allreduce", "steps", "clock", "engine", "platform")
MEANS = (
    "step: time of the slowest worker; compute / step: the efficiency; compute, exposed exchange "
    "(waits for messages): means over workers"
)
ENGINES = {
    MODEL: ("model clock", f"all times are those of the model clock; {MEANS}"),
    SIMGRID: (
        "SimGrid",
        f"messages share the links of the platform in SimGrid; {MEANS}; model: the step of the "
        "same case under the model clock, without contention inside the network",
    ),
}
"""Name in the title of a chapter, and its note, by engine."""


def load(path: Path) -> Launch[SimulationRow]:
    """Read a file and derive its rows. Errors: BrokenFileError."""
    return derive_from(path, lambda: _launch(read_simulation(path)))


def _launch(result: Simulation) -> Launch[SimulationRow]:
    run = read_origin(result.path, result.attributes)
    params = json.loads(result.attributes["params_json"])
    name = "activations" if "activations" in params else "parameters"
    settings: dict[str, Setting] = {name: int(result.attributes["parameters"])}
    settings |= {name: params.get(name) or None for name in SETTINGS}
    seed = result.attributes["seed"]
    where = f", SimGrid, {settings['platform']}" * (settings["engine"] == SIMGRID)
    label = f"simulation, {settings[name]:,} {name}, seed {seed}{where}"
    return Launch(settings, result.rows(), Source(label, run.status, provenance(run)))


def frame(launches: Sequence[Launch[SimulationRow]]) -> pd.DataFrame:
    """Return a row per case of every file."""
    return rows_frame(launches, ("algorithm",))


def summary(launches: Sequence[Launch[SimulationRow]]) -> str:
    """Return the numbers of files and algorithms."""
    algorithms = {row.algorithm for launch in launches for row in launch.rows}
    number = counted(len(algorithms), "algorithm")
    return f"{counted(len(launches), 'file')} of bench.simulate: {number}"


def chapters(launches: Sequence[Launch[SimulationRow]]) -> list[Chapter]:
    """Return one chapter for each engine: a table per condition, medians over several files."""
    engines = {x: [y for y in launches if (y.settings["engine"] or MODEL) == x] for x in ENGINES}
    return [_chapter(*ENGINES[x], some) for x, some in engines.items() if some]


def _chapter(name: str, note: str, launches: Sequence[Launch[SimulationRow]]) -> Chapter:
    """Return the chapter of the launches of one engine."""
    same, groups = group_launches(launches)
    cases = [(group.condition, rows_of(group)) for group in groups]
    return Chapter(
        title=f"Simulation: step time and efficiency, {name}",
        summary=f"bench.simulate, {same}",
        tables=[text_table(condition, rows) for condition, rows in cases if rows],
        notes=[note, *launch_notes(launches, groups, "steps")],
        sources=[launch.source for launch in launches],
        draw=partial(_draw, cases),
        sentences=[x for condition, rows in cases for x in sentences(condition, rows)],
    )


def _draw(cases: Sequence[tuple[str, Sequence[SimulationRow]]]) -> list[Figure]:
    from bench.reporting.simulate.charts import figures

    return figures(cases)


def rows_of(group: Group[SimulationRow]) -> list[SimulationRow]:
    """Return a row per algorithm and number of workers, the median over the files."""
    cases: dict[tuple[str, int], list[SimulationRow]] = {}
    for launch in group.launches:
        for row in launch.rows:
            cases.setdefault((row.algorithm, row.workers), []).append(row)
    return [SimulationRow(**median_columns(rows, {})) for rows in cases.values()]


def text_table(condition: str, rows: Sequence[SimulationRow]) -> TextTable:
    """Return the table of a condition; rows: not empty."""
    contention = rows[0].engine == SIMGRID
    return TextTable(
        heading=condition,
        header=[
            *("algorithm", rows[0].unit, "step ms", "compute / step", "compute ms"),
            "exposed exchange ms",
            *("model ms", "step / model")[: 2 * contention],
        ],
        rows=[
            [
                row.algorithm,
                f"{row.workers:,}",
                figure(row.step_ms),
                percent(row.efficiency) if row.step_ms else NONE,
                figure(row.compute_ms),
                figure(row.exposed_ms),
                *(figure(row.model_step_ms), _ratio(row))[: 2 * contention],
            ]
            for row in rows
        ],
        states=[COMPLETE] * len(rows),
        words=1,
    )


def _ratio(row: SimulationRow) -> str:
    return figure(row.step_ms / row.model_step_ms) if row.model_step_ms else NONE


def sentences(condition: str, rows: Sequence[SimulationRow]) -> list[Sentence]:
    """Return the most efficient algorithm at the largest number of workers of several."""
    most = max((row.workers for row in rows), default=0)
    there = sorted((x for x in rows if x.workers == most), key=lambda x: -x.efficiency)
    if len(there) < 2:
        return []
    first, last = there[0], there[-1]
    text = (
        f"Of {most:,} {first.unit}, {first.algorithm} computes for "
        f"{percent(first.efficiency)} of the time, {last.algorithm} for {percent(last.efficiency)}"
    )
    return [Sentence(f"{text} ({condition})" if condition else text, ["efficiency"])]
