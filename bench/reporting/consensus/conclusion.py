"""Conclusions of bench.consensus in sentences, each with the chart that shows it.

Counts of rounds and bytes are exact; a time is the least only where launches tell it apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

from bench.common.text import figure, format_bytes, signed_percent
from bench.reporting.chapter import Sentence
from bench.reporting.launches import TopologyRow
from bench.reporting.training.ranking import LEAST, UNTOLD

NEAR_PERCENT = 1.0
"""Largest deviation of a contraction factor that agrees with theory."""
MOST_NAMES = 4
"""Maximum number of names that a sentence lists."""
Claim: TypeAlias = tuple[str, tuple[str, ...]]
"""A text and the charts that show it."""


def sentences(measured: Sequence[tuple[str, Sequence[TopologyRow]]]) -> list[Sentence]:
    """Return who agrees in the fewest rounds, bytes and seconds, and how theory compares.

    measured: condition and rows, see bench.reporting.consensus.report.cases.
    """
    return [
        Sentence(f"{text} ({condition})" if condition else text, charts)
        for condition, rows in measured
        if rows
        for text, charts in (*_least(rows), *_theory(rows))
    ]


def _least(rows: Sequence[TopologyRow]) -> list[Claim]:
    reached = [row for row in rows if math.isfinite(row.ms_to_1e6)]
    missed = [row.topology for row in rows if not math.isfinite(row.ms_to_1e6)]
    texts: list[Claim] = []
    if len(reached) > 1:
        rounds = _first(reached, "rounds_to_1e6", "rounds", lambda x: f"{x:g}")
        sent = _first(reached, "bytes_to_1e6", "bytes", lambda x: f"{format_bytes(x)} per worker")
        time = f"The time to an error of 1e-6 is {least_time(reached)}"
        texts += [(rounds, ("rounds",)), (sent, ("bytes",)), (time, ("seconds",))]
    if missed:
        texts.append((f"An error of 1e-6 was not reached by {_listed(missed)}", ("rounds",)))
    return texts


def _first(rows: Sequence[TopologyRow], key: str, unit: str, text: Callable[[float], str]) -> str:
    """Return the topologies with the smallest count."""
    least = min(row.number(key) for row in rows)
    names = [row.topology for row in rows if row.number(key) == least]
    return f"An error of 1e-6 takes the fewest {unit} with {_listed(names)} ({text(least)})"


def least_time(rows: Sequence[TopologyRow]) -> str:
    """Return the topology with the least time to 1e-6 if launches tell it from all others.

    rows: at least one, all with a finite time.
    """
    first, *others = sorted(rows, key=lambda row: row.ms_to_1e6)
    if not others:
        return f"{figure(first.ms_to_1e6)} ms with {first.topology}"
    last = others[-1]
    span = f"medians {figure(first.ms_to_1e6)} ms, {first.topology}, to {figure(last.ms_to_1e6)} ms"
    if min(row.launches for row in rows) < LEAST:
        return f"{UNTOLD} ({span}, {last.topology}; fewer than {LEAST} launches)"
    tied = [row.topology for row in others if row.ms_lo <= first.ms_hi]
    if tied:
        return f"{UNTOLD} between {_listed([first.topology, *tied])} ({span}, {last.topology})"
    second = f"{figure(others[0].ms_to_1e6)} ms with {others[0].topology}"
    return f"the least with {first.topology}: {figure(first.ms_to_1e6)} ms, then {second}"


def _theory(rows: Sequence[TopologyRow]) -> list[Claim]:
    """Return how many contraction factors agree with theory, and the largest deviation."""
    compared = [row for row in rows if math.isfinite(row.factor_difference_percent)]
    if not compared:
        return []
    far = max(compared, key=lambda row: abs(row.factor_difference_percent))
    near = sum(abs(row.factor_difference_percent) <= NEAR_PERCENT for row in compared)
    text = f"Of {len(compared)} measured contraction factors, {near} are within "
    text += f"{NEAR_PERCENT:g} % of theory"
    if near < len(compared):
        text += f"; {far.topology} deviates most, by "
        text += f"{signed_percent(far.factor_difference_percent)} %"
    return [(text, ("rounds",))]


def _listed(names: Sequence[str]) -> str:
    if len(names) > MOST_NAMES:
        return f"{', '.join(names[:MOST_NAMES])} and {len(names) - MOST_NAMES} more"
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
