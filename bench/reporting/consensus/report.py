"""Report of bench.consensus: convergence of gossip by topology, measured and in theory."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.common.text import (
    NONE,
    Setting,
    TextTable,
    counted,
    factor,
    figure,
    format_bytes,
    format_number,
    signed_percent,
)
from bench.reporting.chapter import Chapter, Figure, Source, with_note
from bench.reporting.consensus.conclusion import least_time, sentences
from bench.reporting.launches import (
    Group,
    Launch,
    TopologyRow,
    crowd,
    crowd_cards,
    group_launches,
    launch_notes,
    median_columns,
    rows_frame,
)
from bench.reporting.training.runs import POINTS
from bench.results.convergence import FLAGS, best, exact_after, flags
from bench.results.convergence import rows as rows_of
from bench.results.provenance import derive_from, provenance, read_origin
from bench.results.reader import Run
from bench.results.rounds import Curve, Rounds, read_rounds
from bench.results.rows import ConsensusRow
from bench.results.schema import COMPLETE

if TYPE_CHECKING:
    import pandas as pd

QUESTION = "How fast gossip agrees"
SETTINGS = ("workers", "ranks", "dimension", "tolerance")


def load(path: Path) -> Launch[TopologyRow]:
    """Read a file, derive its rows and thin its curves. Errors: BrokenFileError."""
    return derive_from(path, lambda: _launch(read_rounds(path)))


def _launch(rounds: Rounds) -> Launch[TopologyRow]:
    run = read_origin(rounds.path, rounds.attributes)
    settings: dict[str, Setting] = {name: rounds.attributes[name] for name in SETTINGS}
    params = json.loads(rounds.attributes["params_json"])
    settings |= {name: params.get(name) for name in ("clock", "link")}
    model = ", model clock" if settings["clock"] else ""
    around = run.environment().settings()
    rows = [_row(row, rounds.curves(i), run) for i, row in enumerate(rows_of(rounds))]
    hosts = around["hosts"] or "hosts unknown"
    label = (
        f"consensus, {counted(rounds.attributes['workers'], 'worker')}, "
        f"{counted(rounds.attributes['ranks'], 'rank')}, {hosts}, "
        f"seed {rounds.attributes['seed']}{model}"
    )
    return Launch(
        {**settings, **around},
        rows,
        Source(label, run.status, provenance(run)),
        [_curve(rounds, i) for i in range(len(rows))],
    )


def _row(row: ConsensusRow, curves: Sequence[Curve], run: Run) -> TopologyRow:
    return TopologyRow(
        **row.record(),
        flags=flags(row, curves),
        exact_after=exact_after(curves[0]) if row.measured_factor == 0 else 0,
        seed=int(run.attributes["seed"]),
    )


def _curve(rounds: Rounds, case: int) -> dict[str, list[float]]:
    """Return k, error, bytes and seconds of at most POINTS points, dense in the first rounds."""
    span = rounds.span(case)
    n, most = span.stop - span.start, POINTS - 1
    chosen = np.arange(n) if n <= most else np.geomspace(1, n, most).round().astype(int) - 1
    chosen = np.unique(chosen)
    moved = (rounds.rounds["bytes_sent"] + rounds.rounds["bytes_copied"])[span].sum(1)
    bytes_ = np.cumsum(moved)[chosen] / int(rounds.attributes["workers"])
    seconds = np.cumsum(rounds.rounds["duration_ns"][span].max(1))[chosen] / 1e9
    return {
        "k": [0.0, *(chosen + 1.0).tolist()],
        "error": [1.0, *rounds.rounds["error"][span][chosen].tolist()],
        "bytes": [0.0, *bytes_.tolist()],
        "seconds": [0.0, *seconds.tolist()],
    }


def frame(launches: Sequence[Launch[TopologyRow]]) -> pd.DataFrame:
    """Return a row per topology of every file."""
    return rows_frame(launches, ("topology",))


def summary(launches: Sequence[Launch[TopologyRow]]) -> str:
    """Return the numbers of files and topologies."""
    topologies = {row.topology for launch in launches for row in launch.rows}
    number = counted(len(topologies), "topology", "topologies")
    return f"{counted(len(launches), 'file')} of bench.consensus: {number}"


def chapters(launches: Sequence[Launch[TopologyRow]]) -> list[Chapter]:
    """Return one chapter: a table per condition, with medians over several launches."""
    same, groups = group_launches(launches)
    measured = [(group.condition, cases(group)) for group in groups]
    rows = [row for _, some in measured for row in some]
    return [
        Chapter(
            title="Consensus: how fast gossip agrees",
            summary=f"bench.consensus, {same}",
            tables=[text_table(condition, some) for condition, some in measured if some],
            notes=[*notes(rows), *launch_notes(launches, groups, "rounds")],
            sources=[launch.source for launch in launches],
            draw=partial(_draw, groups, crowd(launches)),
            cards=crowd_cards(launches),
            sentences=sentences(measured),
        )
    ]


def _draw(groups: Sequence[Group[TopologyRow]], note: str) -> list[Figure]:
    from bench.reporting.consensus.charts import figures

    return with_note(figures(groups), note)


INTERVAL = {
    "us_per_round_p50": ("us_per_round_lo", "us_per_round_hi"),
    "ms_to_1e6": ("ms_lo", "ms_hi"),
}
HEADER = (
    *("topology", "sends to", "theory factor", "measured", "factor %", "rate %"),
    *("rounds to 1e-3", "rounds to 1e-6", "bytes to 1e-6", "ms to 1e-6", "us/round", "flags"),
)
NOTES = (
    "factor: contraction of the error per round; theory: from the mixing matrix, |lambda_2| for a "
    "constant one; measured: fit of the last half of the rounds",
    "factor %, rate %: measured relative to theory; rate: -log(factor); bytes: per worker, sent or "
    "copied; us/round: on the slowest rank",
)
"""Explanations for readers of the table."""


def cases(group: Group[TopologyRow]) -> list[TopologyRow]:
    """Return a row per topology, the median over the launches, in file order."""
    by_topology: dict[str, list[TopologyRow]] = {}
    for launch in group.launches:
        for row in launch.rows:
            by_topology.setdefault(row.topology, []).append(row)
    result = []
    for rows in by_topology.values():
        flags = "".join(dict.fromkeys("".join(row.flags for row in rows)))
        values = median_columns(rows, INTERVAL) | {"flags": flags}
        result.append(TopologyRow(**values, launches=len(rows)))
    return result


def text_table(condition: str, rows: Sequence[TopologyRow]) -> TextTable:
    """Return the table of a condition with the best topologies below; rows: not empty."""
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
    reached = math.isfinite(row.ms_to_1e6)
    return [
        row.topology,
        f"{row.degree_max:.0f}",
        factor(row.theory_factor),
        factor(row.measured_factor) + measured,
        NONE if exact else signed_percent(row.factor_difference_percent),
        NONE if exact else signed_percent(row.rate_difference_percent),
        _count(row.rounds_to_1e3),
        _count(row.rounds_to_1e6),
        format_bytes(row.bytes_to_1e6) if reached else NONE,
        figure(row.ms_to_1e6) + (_span(row.ms_lo, row.ms_hi) if several and reached else ""),
        figure(row.us_per_round_p50) + _span(row.us_per_round_lo, row.us_per_round_hi),
        row.flags,
    ]


def _span(low: float, high: float) -> str:
    ends = (figure(x) if x >= 1000 else format_number(x, 3) for x in (low, high))
    return f" [{', '.join(ends)}]"


def _count(rounds: float) -> str:
    return f"{rounds:g}" if math.isfinite(rounds) else NONE


def _foot(rows: Sequence[TopologyRow]) -> list[str]:
    """Return the topologies with the fewest rounds and bytes, and the least time if any."""
    n = [row.launches for row in rows]
    launches = [] if max(n) == 1 else [f"launches: {min(n)}" + f" to {max(n)}" * (min(n) < max(n))]
    reached = [row for row in rows if math.isfinite(row.ms_to_1e6)]
    if not reached:
        return [*launches, "no topology reached 1e-6"]
    return [
        *launches,
        best(reached, "fewest rounds to 1e-6:", "rounds_to_1e6", _count),
        best(reached, "fewest bytes:", "bytes_to_1e6", lambda x: f"{format_bytes(x)} per worker"),
        f"{'time to 1e-6:':<21}  {least_time(reached)}",
    ]


def notes(rows: Sequence[TopologyRow]) -> list[str]:
    """Return explanations for readers of the tables."""
    letters = "".join(row.flags for row in rows)
    meaning = {"!": "the error did not reach the tolerance", **FLAGS}
    lines = [*NOTES, *(f"{x} {text}" for x, text in meaning.items() if x in letters)]
    if any(row.topology == "random_pair" for row in rows):
        lines.append("random_pair: both factors are root mean squares over many random pairings")
    return lines if rows else []
