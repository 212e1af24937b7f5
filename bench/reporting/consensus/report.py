"""What a report says of bench.consensus: how fast gossip agrees, and how near to theory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.common.text import (
    NONE,
    TextTable,
    factor,
    figure,
    format_bytes,
    format_number,
    signed_percent,
)
from bench.reporting.chapter import Chapter, Figure, Source
from bench.reporting.launches import (
    Group,
    Launch,
    TopologyRow,
    grouped,
    median_columns,
    repeats,
    rows_frame,
    surroundings,
)
from bench.reporting.training.runs import POINTS
from bench.results.fit import Curve, exact_after
from bench.results.origin import derived, provenance, read_origin
from bench.results.reader import Run
from bench.results.rounds import Rounds, read_rounds
from bench.results.rounds_rows import FLAGS, best, flags
from bench.results.rounds_rows import rows as rows_of
from bench.results.rows import ConsensusRow
from bench.results.schema import COMPLETE

if TYPE_CHECKING:
    import pandas as pd

QUESTION = "How fast gossip agrees"
SETTINGS = ("workers", "ranks", "dimension", "tolerance")


def load(path: Path) -> Launch[TopologyRow]:
    """Read a file, derive its rows, thin its curves. Errors: BrokenFileError."""
    return derived(path, lambda: _launch(read_rounds(path)))


def _launch(found: Rounds) -> Launch[TopologyRow]:
    run = read_origin(found.path, found.attributes)
    settings = {name: found.attributes[name] for name in SETTINGS}
    around = surroundings(run)
    rows = [_row(row, found.curves(i), run) for i, row in enumerate(rows_of(found))]
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


def _row(row: ConsensusRow, curves: Sequence[Curve], run: Run) -> TopologyRow:
    return TopologyRow(
        **row.record(),
        flags=flags(row, curves),
        exact_after=exact_after(curves[0]) if row.measured_factor == 0 else 0,
        seed=int(run.attributes["seed"]),
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


def frame(launches: Sequence[Launch[TopologyRow]]) -> pd.DataFrame:
    """A row a topology of every file."""
    return rows_frame(launches, ("topology",))


def summary(launches: Sequence[Launch[TopologyRow]]) -> str:
    """How much there is."""
    topologies = {row.topology for launch in launches for row in launch.rows}
    files = "1 file" if len(launches) == 1 else f"{len(launches)} files"
    return f"{files} of bench.consensus: {len(topologies)} topologies"


def chapters(launches: Sequence[Launch[TopologyRow]]) -> list[Chapter]:
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


def _draw(groups: Sequence[Group[TopologyRow]]) -> list[Figure]:
    from bench.reporting.consensus.charts import figures

    return figures(groups)


INTERVAL = {
    "us_per_round_p50": ("us_per_round_lo", "us_per_round_hi"),
    "ms_to_1e6": ("ms_lo", "ms_hi"),
}
HEADER = (
    *("topology", "sends to", "theory factor", "measured", "factor %", "rate %"),
    *("rounds to 1e-3", "rounds to 1e-6", "bytes to 1e-6", "ms to 1e-6", "us/round", "flags"),
)
NOTES = (
    "factor: by which the error shrinks a round; theory: of the mixing matrix, |lambda_2| where it "
    "stays; measured: fit of the last half of the rounds",
    "factor %, rate %: measured over theory; rate: -log(factor); bytes: of a worker, by any road; "
    "us/round: on the slowest rank",
)
"""What a reader of the table must know."""


def cases(group: Group[TopologyRow]) -> list[TopologyRow]:
    """Return a row for each topology, in the order of the files: medians over launches."""
    found: dict[str, list[TopologyRow]] = {}
    for launch in group.launches:
        for row in launch.rows:
            found.setdefault(row.topology, []).append(row)
    made = []
    for rows in found.values():
        flags = "".join(dict.fromkeys("".join(row.flags for row in rows)))
        values = median_columns(rows, INTERVAL) | {"flags": flags}
        made.append(TopologyRow(**values, launches=len(rows)))
    return made


def text_table(condition: str, rows: Sequence[TopologyRow]) -> TextTable:
    """The table of a condition, with what it comes to below; rows: not empty."""
    last = None if any(row.flags for row in rows) else -1
    return TextTable(
        heading=condition,
        header=list(HEADER[:last]),
        rows=[_cells(row)[:last] for row in rows],
        states=[COMPLETE] * len(rows),
        words=1,
        foot=_foot(rows),
    )


def _cells(row: TopologyRow) -> list[str]:
    several = row.launches > 1
    exact = row.exact_after
    measured = f" [exact in {exact:.0f}]" if exact else ""
    there = math.isfinite(row.ms_to_1e6)
    return [
        row.topology,
        f"{row.degree_max:.0f}",
        factor(row.theory_factor),
        factor(row.measured_factor) + measured,
        NONE if exact else signed_percent(row.factor_difference_percent),
        NONE if exact else signed_percent(row.rate_difference_percent),
        _count(row.rounds_to_1e3),
        _count(row.rounds_to_1e6),
        format_bytes(row.bytes_to_1e6) if there else NONE,
        figure(row.ms_to_1e6) + (_span(row.ms_lo, row.ms_hi) if several and there else ""),
        figure(row.us_per_round_p50) + _span(row.us_per_round_lo, row.us_per_round_hi),
        row.flags,
    ]


def _span(low: float, high: float) -> str:
    ends = (figure(x) if x >= 1000 else format_number(x, 3) for x in (low, high))
    return f" [{', '.join(ends)}]"


def _count(rounds: float) -> str:
    return f"{rounds:g}" if math.isfinite(rounds) else NONE


def _foot(rows: Sequence[TopologyRow]) -> list[str]:
    """Who has the least of what."""
    n = [row.launches for row in rows]
    launches = [] if max(n) == 1 else [f"launches: {min(n)}" + f" to {max(n)}" * (min(n) < max(n))]
    there = [row for row in rows if math.isfinite(row.ms_to_1e6)]
    if not there:
        return [*launches, "no topology came down to 1e-6"]
    return [
        *launches,
        best(there, "fewest rounds to 1e-6:", "rounds_to_1e6", _count),
        best(there, "fewest bytes:", "bytes_to_1e6", lambda x: f"{format_bytes(x)} a worker"),
        best(there, "least time:", "ms_to_1e6", lambda x: f"{figure(x)} ms"),
    ]


def notes(rows: Sequence[TopologyRow]) -> list[str]:
    """What a reader of the tables must know."""
    there = "".join(row.flags for row in rows)
    meaning = {"!": "the error did not come down to the tolerance", **FLAGS}
    lines = [*NOTES, *(f"{x} {text}" for x, text in meaning.items() if x in there)]
    if any(row.topology == "random_pair" for row in rows):
        lines.append("random_pair: both factors are root mean squares over many draws of pairs")
    return lines if rows else []
