"""Every derived number of a case of bench.consensus; nothing derived is stored."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from bench.results.fit import (
    RATE_ERROR,
    Curve,
    bend,
    difference_percent,
    rate,
    squared_ratios,
    tail_factor,
)
from bench.results.rounds import Rounds
from bench.results.rows import ConsensusRow
from bench.results.statistics import median_interval


def rows(found: Rounds) -> list[ConsensusRow]:
    """Return one row a case: its settings and derived numbers, infinite where not reached."""
    return [row(found, case) for case in range(len(found.cases["case"]))]


def row(found: Rounds, case: int) -> ConsensusRow:
    """What a case was, and what comes of its rounds; infinite where a level was not reached.

    A round is as long as on its slowest rank. Bytes are those a worker sent, by any road.
    """
    cells = {key: column[case] for key, column in found.cases.items()}
    span, workers = found.span(case), int(found.attributes["workers"])
    curves = found.curves(case)
    error = curves[0]
    period, theory = int(cells["period"]), float(cells["theory_factor"])
    measured = tail_factor(error, period) if period else squared_ratios(curves).factor()
    slowest = found.rounds["duration_ns"][span].max(1)
    moved = (found.rounds["bytes_sent"] + found.rounds["bytes_copied"])[span].sum(1)
    there = first_below(error, 1e-6)
    n = there if isinstance(there, int) else 0
    p50, lo, hi = (ns / 1e3 for ns in median_interval(slowest))
    return ConsensusRow(
        topology=cells["topology"].decode(),
        workers=workers,
        ranks=int(found.attributes["ranks"]),
        period=period,
        degree_max=int(cells["degree_max"]),
        theory_factor=theory,
        measured_factor=measured,
        factor_difference_percent=difference_percent(measured, theory),
        rate_difference_percent=difference_percent(rate(measured), rate(theory)),
        rounds_to_1e3=first_below(error, 1e-3),
        rounds_to_1e6=there,
        bytes_to_1e6=float(moved[:n].sum()) / workers if n else math.inf,
        ms_to_1e6=float(slowest[:n].sum()) / 1e6 if n else math.inf,
        us_per_round_p50=p50,
        us_per_round_lo=lo,
        us_per_round_hi=hi,
        rounds=int(cells["rounds"]),
        reached=int(cells["reached"]),
    )


def first_below(error: Curve, level: float) -> int | float:
    """After how many rounds the error is at or below a level; infinite where it never is."""
    below = np.flatnonzero(error <= level)
    return int(below[0]) + 1 if len(below) else math.inf


BENT = 0.05
"""Largest relative difference between the rates of both halves of an asymptotic tail."""
FLAGS = {
    "~": "the tail still bends: too few rounds for the slowest mode to dominate",
    "?": "too few draws to determine the rate within a few percent: raise --time",
}
"""Flag -> its meaning; a third flag, `!`, marks a tolerance that was not reached."""


def flags(row: ConsensusRow, curves: Sequence[Curve]) -> str:
    """Return the flags of a row: `!` where the tolerance was missed, then keys of FLAGS."""
    missed = "" if row.reached else "!"
    if row.period:
        return missed + ("~" if bend(curves[0], row.period) > BENT else "")
    return missed + ("?" if squared_ratios(curves).rate_error() > RATE_ERROR else "")


def best(rows: Sequence[ConsensusRow], label: str, key: str, text: Callable[[float], str]) -> str:
    """Return a line with the topologies that have the smallest value, three of them by name."""
    least = min(row.number(key) for row in rows)
    names = [row.topology for row in rows if row.number(key) == least]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{label:<21}  {', '.join(names[:3])}{more} ({text(least)})"
