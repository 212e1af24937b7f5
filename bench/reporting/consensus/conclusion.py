"""Conclusions of bench.consensus in sentences, each with the chart that shows it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

from bench.common.text import figure, format_bytes, signed_percent
from bench.reporting.chapter import Sentence
from bench.reporting.launches import TopologyRow

LEAST = 3
"""Minimum number of launches whose times tell topologies apart."""
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
        Sentence(f"{condition}: {text}" if condition else text, charts)
        for condition, rows in measured
        if rows
        for text, charts in (*_least(rows), *_theory(rows))
    ]


def _least(rows: Sequence[TopologyRow]) -> list[Claim]:
    reached = [row for row in rows if math.isfinite(row.ms_to_1e6)]
    missed = [row.topology for row in rows if not math.isfinite(row.ms_to_1e6)]
    texts: list[Claim] = []
    if len(reached) > 1:
        rounds = _first(reached, "rounds_to_1e6", "in the fewest rounds", lambda x: f"{x:g}")
        sent = _first(
            reached,
            "bytes_to_1e6",
            "with the fewest bytes",
            lambda x: f"{format_bytes(x)} per worker",
        )
        texts += [(rounds, ("rounds",)), (sent, ("bytes",)), (_time(reached), ("seconds",))]
    if missed:
        texts.append((f"{_listed(missed)} did not reach an error of 1e-6", ("rounds",)))
    return texts


def _first(rows: Sequence[TopologyRow], key: str, how: str, text: Callable[[float], str]) -> str:
    """Return the topologies with the smallest count."""
    least = min(row.number(key) for row in rows)
    names = [row.topology for row in rows if row.number(key) == least]
    verb = "reach" if len(names) > 1 else "reaches"
    return f"{_listed(names)} {verb} an error of 1e-6 {how} ({text(least)})"


def _time(rows: Sequence[TopologyRow]) -> str:
    """Return the topology with the least time, if its interval over launches is apart."""
    first, second, *_ = sorted(rows, key=lambda row: row.ms_to_1e6)
    ends = f"{figure(first.ms_to_1e6)} ms, then {second.topology} with {figure(second.ms_to_1e6)}"
    if min(row.launches for row in rows) < LEAST:
        return (
            f"{first.topology} took the least time ({ends} ms), but fewer than {LEAST} launches "
            "tell no times apart"
        )
    ahead = all(first.ms_hi < row.ms_lo for row in rows if row is not first)
    if ahead:
        return f"{first.topology} takes the least time ({ends} ms)"
    tied = [row.topology for row in rows if row is first or row.ms_lo <= first.ms_hi]
    return f"{_listed(tied)} are not told apart in time ({ends} ms)"


def _theory(rows: Sequence[TopologyRow]) -> list[Claim]:
    """Return how many contraction factors agree with theory, and the largest deviation."""
    compared = [row for row in rows if math.isfinite(row.factor_difference_percent)]
    if not compared:
        return []
    far = max(compared, key=lambda row: abs(row.factor_difference_percent))
    near = sum(abs(row.factor_difference_percent) <= NEAR_PERCENT for row in compared)
    text = f"{near} of {len(compared)} measured contraction factors are within {NEAR_PERCENT:g} % "
    text += "of theory"
    if near < len(compared):
        text += f"; {far.topology} deviates most, by "
        text += f"{signed_percent(far.factor_difference_percent)} %"
    return [(text, ("rounds",))]


def _listed(names: Sequence[str]) -> str:
    if len(names) > MOST_NAMES:
        return f"{', '.join(names[:MOST_NAMES])} and {len(names) - MOST_NAMES} more"
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
