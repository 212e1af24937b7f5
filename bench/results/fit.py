"""The measured contraction factor of an error curve, and how far it can be trusted.

A curve is error: (n,) float64, the consensus error after rounds 1 .. n relative to the start, which
is 1. What has sunk into the rounding floor is never fitted.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Curve = NDArray[np.float64]

FLOOR, DRIFT = 1e-13, 1e-16
"""Rounding: an error below FLOOR + DRIFT k after round k says nothing of gossip."""
RATE_ERROR = 0.015
"""Largest relative standard error of the measured rate of a random topology."""


def tail(error: Curve, period: int) -> tuple[NDArray[np.int64], Curve]:
    """Rounds and errors to be fitted: the ends of whole periods in the last half of the rounds.

    The last half is where the slowest mode is alone; only at ends of periods does a periodic
    topology decay evenly. All ends, with the start, where the last half has fewer than two.
    """
    k = np.arange(0, len(error) + 1, period)
    e = np.concatenate([[1.0], error])[k]
    above = e > FLOOR + DRIFT * k
    late = above & (2 * k >= len(error))
    chosen = late if late.sum() >= 2 else above
    return k[chosen], e[chosen]


def tail_factor(error: Curve, period: int) -> float:
    """The factor a round, by least squares of log error on the round over the tail.

    0 where the error fell to the floor at once; NaN where not even one period is there.
    """
    k, e = tail(error, period)
    if len(k) < 2:
        return 0.0 if exact_after(error) else math.nan
    return math.exp(_slope(k, e))


def bend(error: Curve, period: int) -> float:
    """By what part the rates of the two halves of the tail differ; 0 where it is too short."""
    k, e = tail(error, period)
    half = len(k) // 2
    if half < 2:
        return 0.0
    early, late = _slope(k[:half], e[:half]), _slope(k[-half:], e[-half:])
    return abs(early / late - 1) if late else math.inf


def exact_after(error: Curve) -> int:
    """The round after which the workers agree up to rounding; 0 where they do not."""
    below = np.flatnonzero(error <= FLOOR + DRIFT * np.arange(1, len(error) + 1))
    return int(below[0]) + 1 if len(below) else 0


def _slope(k: NDArray[np.int64], e: Curve) -> float:
    return float(np.polyfit(k, np.log(e), 1)[0])


@dataclass
class SquaredRatios:
    """The squared ratios of consecutive errors under a random topology.

    Where no two workers differ, the expected ratio is the same whatever came before: lambda_2 of
    E[P^T P]. So the mean over all rounds of all curves estimates it, without a bias of the tail;
    the slope of one curve would not: it is the mean of the logarithm, which is smaller.
    """

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, error: Curve) -> None:
        """Count the rounds of one curve."""
        e = np.concatenate([[1.0], error])
        e[e <= FLOOR] = 0
        before = e[:-1] > 0
        ratios = (e[1:][before] / e[:-1][before]) ** 2
        self.n += len(ratios)
        self.total += float(ratios.sum())
        self.squares += float((ratios**2).sum())

    def factor(self) -> float:
        """The root of the mean; NaN without rounds."""
        return math.sqrt(self.total / self.n) if self.n else math.nan

    def rate_error(self) -> float:
        """The standard error of -log(factor), relative to it; 0 where every curve ends at once."""
        mean = self.total / self.n
        if not 0 < mean < 1:
            return 0.0 if mean == 0 else math.inf
        spread = math.sqrt(max(0.0, self.squares / self.n - mean**2))
        return spread / math.sqrt(self.n) / mean / -math.log(mean)


def squared_ratios(curves: Sequence[Curve]) -> SquaredRatios:
    """Those of all redraws together, curves[1:]; of the first curve where there are none.

    The redraws are of what workers hold, which is what the theory knows; where all weights stay
    1, the first curve is, too.
    """
    ratios = SquaredRatios()
    for curve in curves[1:] or curves:
        ratios.add(curve)
    return ratios


def difference_percent(measured: float, theory: float) -> float:
    """By how many percent one exceeds the other; 0 where they are equal, be it zero or infinity."""
    if measured == theory:
        return 0.0
    return 100 * (measured / theory - 1) if theory else math.inf


def rate(factor: float) -> float:
    """-log(factor): the part of the error that a round takes away where it is small."""
    return math.inf if factor == 0 else -math.log(factor)
