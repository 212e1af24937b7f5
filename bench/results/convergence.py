"""Contraction factors fitted to error curves of gossip, and the derived rows.

A curve is error: (n,) float64, the consensus error after rounds 1, ..., n relative to the error at
the start. Errors below the rounding floor are never fitted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.results.rounds import Curve, Rounds
from bench.results.rows import ConsensusRow
from bench.results.schema import clock_of
from bench.results.statistics import median_interval

FLOOR, DRIFT = 1e-13, 1e-16
"""Rounding floor: an error below FLOOR + DRIFT k after round k is due to rounding."""
RATE_ERROR = 0.015
"""Largest relative standard error of the measured rate of a random topology."""


def tail(error: Curve, period: int) -> tuple[NDArray[np.int64], Curve]:
    """Return the rounds and errors to fit: the ends of periods in the last half of the curve.

    In the last half the slowest mode dominates; only from one end of a period to the next does
    the error of a periodic topology decay by a constant factor. All ends of periods and the start
    are used if the last half has fewer than two.
    """
    k = np.arange(0, len(error) + 1, period)
    e = np.concatenate([[1.0], error])[k]
    above = e > FLOOR + DRIFT * k
    late = above & (2 * k >= len(error))
    mask = late if late.sum() >= 2 else above
    return k[mask], e[mask]


def tail_factor(error: Curve, period: int) -> float:
    """Return the factor per round by least squares on the log error of the tail.

    The factor is 0 if the error fell to the floor at once, and NaN without a full period.
    """
    k, e = tail(error, period)
    if len(k) < 2:
        return 0.0 if exact_after(error) else math.nan
    return math.exp(_slope(k, e))


def bend(error: Curve, period: int) -> float:
    """Return the relative difference of the rates of both halves of the tail."""
    k, e = tail(error, period)
    half = len(k) // 2
    if half < 2:
        return 0.0
    early, late = _slope(k[:half], e[:half]), _slope(k[-half:], e[-half:])
    return abs(early / late - 1) if late else math.inf


def exact_after(error: Curve) -> int:
    """Return the first round with an error below the floor; 0 if there is none."""
    below = np.flatnonzero(error <= FLOOR + DRIFT * np.arange(1, len(error) + 1))
    return int(below[0]) + 1 if len(below) else 0


def _slope(k: NDArray[np.int64], e: Curve) -> float:
    return float(np.polyfit(k, np.log(e), 1)[0])


@dataclass
class SquaredRatios:
    """Squared ratios of consecutive errors under a random topology.

    With exchangeable workers the expected ratio does not depend on the earlier rounds: it is
    lambda_2 of E[P^T P]. The mean over all rounds of all curves is an unbiased estimate of it. The
    slope of one curve is not: it estimates the mean of the logarithm, which is smaller.
    """

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, error: Curve) -> None:
        """Add the rounds of one curve."""
        e = np.concatenate([[1.0], error])
        e[e <= FLOOR] = 0
        before = e[:-1] > 0
        ratios = (e[1:][before] / e[:-1][before]) ** 2
        self.n += len(ratios)
        self.total += float(ratios.sum())
        self.squares += float((ratios**2).sum())

    def factor(self) -> float:
        """Return the square root of the mean ratio; NaN without rounds."""
        return math.sqrt(self.total / self.n) if self.n else math.nan

    def rate_error(self) -> float:
        """Return the relative standard error of the rate; 0 if one round reaches agreement."""
        mean = self.total / self.n
        if not 0 < mean < 1:
            return 0.0 if mean == 0 else math.inf
        spread = math.sqrt(max(0.0, self.squares / self.n - mean**2))
        return spread / math.sqrt(self.n) / mean / -math.log(mean)


def squared_ratios(curves: Sequence[Curve]) -> SquaredRatios:
    """Return the ratios of all redraws, curves[1:], or of curves[0] without redraws.

    The theory is about the error of the weighted values, which the redraws measure. The first
    curve measures the same error if all weights stay 1.
    """
    ratios = SquaredRatios()
    for curve in curves[1:] or curves:
        ratios.add(curve)
    return ratios


def difference_percent(measured: float, theory: float) -> float:
    """Return the excess of the measured value over the theory in percent; 0 if both are equal."""
    if measured == theory:
        return 0.0
    return 100 * (measured / theory - 1) if theory else math.inf


def rate(factor: float) -> float:
    """Return the rate -log(factor), the relative reduction per round if it is small."""
    return math.inf if factor == 0 else -math.log(factor)


def rows(result: Rounds) -> list[ConsensusRow]:
    """Return one row per case: its settings and derived numbers; infinity marks a missed error."""
    return [row(result, case) for case in range(len(result.cases["case"]))]


def row(result: Rounds, case: int) -> ConsensusRow:
    """Return the settings and derived numbers of a case.

    The duration of a round is that of its slowest rank. Bytes are counted per worker, both through
    MPI and through memory.
    """
    cells = {key: column[case] for key, column in result.cases.items()}
    span, workers = result.span(case), int(result.attributes["workers"])
    curves = result.curves(case)
    error = curves[0]
    period, theory = int(cells["period"]), float(cells["theory_factor"])
    measured = tail_factor(error, period) if period else squared_ratios(curves).factor()
    slowest = result.rounds["duration_ns"][span].max(1)
    nbytes = (result.rounds["bytes_sent"] + result.rounds["bytes_copied"])[span].sum(1)
    rounds_to_1e6 = first_below(error, 1e-6)
    n = rounds_to_1e6 if isinstance(rounds_to_1e6, int) else 0
    p50, lo, hi = (ns / 1e3 for ns in median_interval(slowest))
    return ConsensusRow(
        topology=cells["topology"].decode(),
        workers=workers,
        ranks=int(result.attributes["ranks"]),
        clock=clock_of(result.attributes),
        period=period,
        degree_max=int(cells["degree_max"]),
        theory_factor=theory,
        measured_factor=measured,
        factor_difference_percent=difference_percent(measured, theory),
        rate_difference_percent=difference_percent(rate(measured), rate(theory)),
        rounds_to_1e3=first_below(error, 1e-3),
        rounds_to_1e6=rounds_to_1e6,
        bytes_to_1e6=float(nbytes[:n].sum()) / workers if n else math.inf,
        ms_to_1e6=float(slowest[:n].sum()) / 1e6 if n else math.inf,
        us_per_round_p50=p50,
        us_per_round_lo=lo,
        us_per_round_hi=hi,
        rounds=int(cells["rounds"]),
        reached=int(cells["reached"]),
    )


def first_below(error: Curve, level: float) -> int | float:
    """Return the number of rounds until the error is at most a level; infinity if it never is."""
    below = np.flatnonzero(error <= level)
    return int(below[0]) + 1 if len(below) else math.inf


BENT = 0.05
"""Largest relative difference between the rates of both halves of an asymptotic tail."""
FLAGS = {
    "~": "the tail still bends: too few rounds for the slowest mode to dominate",
    "?": "too few draws to determine the rate within a few percent: raise --time",
}
"""Meaning of each flag; a third flag, `!`, marks a tolerance that was not reached."""


def flags(row: ConsensusRow, curves: Sequence[Curve]) -> str:
    """Return the flags of a row: `!` for a missed tolerance, then keys of FLAGS."""
    missed = "" if row.reached else "!"
    if row.period:
        return missed + ("~" if bend(curves[0], row.period) > BENT else "")
    return missed + ("?" if squared_ratios(curves).rate_error() > RATE_ERROR else "")


def best(rows: Sequence[ConsensusRow], label: str, key: str, text: Callable[[float], str]) -> str:
    """Return a line with the topologies of the smallest value; at most three are named."""
    least = min(row.number(key) for row in rows)
    names = [row.topology for row in rows if row.number(key) == least]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{label:<21}  {', '.join(names[:3])}{more} ({text(least)})"
