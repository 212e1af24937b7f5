"""Medians and ratios of medians with nonparametric confidence intervals."""

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Z95 = 1.96
"""Normal quantile of a two-sided 95 % interval."""
Interval: TypeAlias = tuple[float, float, float]
"""A median and the ends of its interval; the ends are NaN where there is none."""


def median_interval(values: NDArray[np.number]) -> Interval:
    """Return the median and its 95 % interval by order statistics, in the values' unit.

    Hoefler, Belli: Scientific Benchmarking of Parallel Computing Systems, SC 2015, section 3.1.3:
    the ranks floor((n - z sqrt n)/2) and ceil(1 + (n + z sqrt n)/2), counted from 1. With fewer
    than 6 values no such interval exists: minimum and maximum are returned, which hold the median
    of the law in 1 - 2^(1-n) of all cases. NaN without values, and where one is NaN; values may
    be infinite, which is later than all others.
    """
    n = len(values)
    if n == 0 or np.isnan(values).any():
        return math.nan, math.nan, math.nan
    ordered = np.sort(values)
    low = math.floor((n - Z95 * math.sqrt(n)) / 2)
    high = math.ceil(1 + (n + Z95 * math.sqrt(n)) / 2)
    lo, hi = ordered[max(low, 1) - 1], ordered[min(high, n) - 1]
    return float(np.median(ordered)), float(lo), float(hi)


def ratio_interval(above: Interval, below: Interval) -> Interval:
    """Return the ratio of two independent medians and its interval.

    Zou, Donner: Construction of confidence limits about effect measures, Statistics in Medicine
    27 (2008), 1693-1702 (MOVER), of the difference of the logarithms: the arms of both intervals
    are added as squares, each side by itself, so two of 95 % give one of about 95 %. Where an end
    is 0 or infinite there are no such arms, and the ends are the least and the greatest ratio of
    the ends. NaN where there is no number: of NaN, infinity by infinity, 0 by 0.
    """
    (a, a_lo, a_hi), (b, b_lo, b_hi) = above, below
    with np.errstate(divide="ignore", invalid="ignore"):  # 0, infinity: see above
        ratio, low, high = (
            float(np.divide(*pair)) for pair in ((a, b), (a_lo, b_hi), (a_hi, b_lo))
        )
    if not (min(a_lo, b_lo) > 0 and max(a_hi, b_hi) < math.inf):
        return ratio, low, high
    down = math.hypot(math.log(a / a_lo), math.log(b_hi / b))
    up = math.hypot(math.log(a_hi / a), math.log(b / b_lo))
    return ratio, ratio * math.exp(-down), ratio * math.exp(up)


def olympic_mean(values: NDArray[np.number]) -> float:
    """Return the mean without the smallest and the largest value.

    The score of Mattson and others: MLPerf Training Benchmark, MLSys 2020: one miss, infinite, is
    forgiven. Infinite where two values or more are; NaN below 3 values or where one is NaN.
    """
    if len(values) < 3 or np.isnan(values).any():
        return math.nan
    return float(np.sort(values)[1:-1].mean())
