"""What a report says of bench.consensus: how fast gossip agrees, and how near to theory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.reporting.chapter import Chapter, Figure, Source
from bench.reporting.consensus.table import cases, notes, text_table
from bench.reporting.digest import POINTS
from bench.reporting.launches import Group, Launch, grouped, repeats, rows_frame, surroundings
from bench.results.fit import exact_after
from bench.results.origin import derived, provenance, read_origin
from bench.results.rounds import Rounds, read_rounds
from bench.results.rounds_rows import flags
from bench.results.rounds_rows import rows as rows_of

if TYPE_CHECKING:
    import pandas as pd

QUESTION = "How fast gossip agrees"
SETTINGS = ("workers", "ranks", "dimension", "tolerance")


def load(path: Path) -> Launch:
    """Read a file, derive its rows, thin its curves. Errors: BrokenFileError."""
    return derived(path, lambda: _launch(read_rounds(path)))


def _launch(found: Rounds) -> Launch:
    run = read_origin(found.path, found.attributes)
    settings = {name: found.attributes[name] for name in SETTINGS}
    around = surroundings(run)
    rows = rows_of(found)
    for i, row in enumerate(rows):
        curves = found.curves(i)
        row["flags"] = flags(row, curves)
        row["exact_after"] = exact_after(curves[0]) if row["measured_factor"] == 0 else 0
        row["seed"] = int(found.attributes["seed"])
    label = (
        f"consensus, {settings['workers']} workers, {settings['ranks']} ranks, {around['hosts']}, "
        f"seed {found.attributes['seed']}"
    )
    return Launch(
        settings | around,
        rows,
        Source(label, run.status, provenance(run)),
        [_curve(found, i) for i in range(len(rows))],
    )


def _curve(found: Rounds, case: int) -> dict[str, list[float]]:
    """The start and at most POINTS - 1 rounds, dense where they begin: k, error, bytes, seconds."""
    span = found.span(case)
    n, most = span.stop - span.start, POINTS - 1
    kept = np.arange(n) if n <= most else np.geomspace(1, n, most).round().astype(int) - 1
    kept = np.unique(kept)
    moved = (found.rounds["bytes_sent"] + found.rounds["bytes_copied"])[span].sum(1)
    bytes_ = np.cumsum(moved)[kept] / int(found.attributes["workers"])
    seconds = np.cumsum(found.rounds["duration_ns"][span].max(1))[kept] / 1e9
    return {
        "k": [0.0, *(kept + 1.0).tolist()],
        "error": [1.0, *found.rounds["error"][span][kept].tolist()],
        "bytes": [0.0, *bytes_.tolist()],
        "seconds": [0.0, *seconds.tolist()],
    }


def frame(launches: Sequence[Launch]) -> pd.DataFrame:
    """A row a topology of every file."""
    return rows_frame(launches, ("topology",))


def summary(launches: Sequence[Launch]) -> str:
    """How much there is."""
    topologies = {row["topology"] for launch in launches for row in launch.rows}
    files = "1 file" if len(launches) == 1 else f"{len(launches)} files"
    return f"{files} of bench.consensus: {len(topologies)} topologies"


def chapters(launches: Sequence[Launch]) -> list[Chapter]:
    """One chapter: a table for every condition, with several launches their medians."""
    same, groups = grouped(launches)
    measured = [(group.condition, cases(group)) for group in groups]
    rows = [row for _, some in measured for row in some]
    return [
        Chapter(
            title="Consensus: how fast gossip agrees",
            summary=f"bench.consensus, {same}",
            tables=[text_table(condition, some) for condition, some in measured if some],
            notes=[*notes(rows), *repeats(launches, groups, "rounds")],
            sources=[launch.source for launch in launches],
            draw=partial(_draw, groups),
        )
    ]


def _draw(groups: Sequence[Group]) -> list[Figure]:
    from bench.reporting.consensus.charts import figures

    return figures(groups)
