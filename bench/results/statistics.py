"""Medians and ratios of medians with nonparametric confidence intervals."""

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Z95 = 1.96
"""Normal quantile of a two-sided 95 % interval."""
Interval: TypeAlias = tuple[float, float, float]
"""Median, lower end and upper end of its interval; NaN if there is none."""


def median_interval(values: NDArray[np.number]) -> Interval:
    """Return the median and its 95 % interval by order statistics, in the values' unit.

    Hoefler, Belli: Scientific Benchmarking of Parallel Computing Systems, SC 2015, section 3.1.3:
    the ranks floor((n - z sqrt n)/2) and ceil(1 + (n + z sqrt n)/2), counted from 1. With fewer
    than 6 values no such interval exists: the minimum and maximum are returned, which contain the
    median of the distribution with probability 1 - 2^(1-n). The result is NaN without values or if
    a value is NaN. Values may be infinite.
    """
    n = len(values)
    if n == 0 or np.isnan(values).any():
        return math.nan, math.nan, math.nan
    sorted_values = np.sort(values)
    low = math.floor((n - Z95 * math.sqrt(n)) / 2)
    high = math.ceil(1 + (n + Z95 * math.sqrt(n)) / 2)
    lo, hi = sorted_values[max(low, 1) - 1], sorted_values[min(high, n) - 1]
    return float(np.median(sorted_values)), float(lo), float(hi)


def ratio_interval(above: Interval, below: Interval) -> Interval:
    """Return the ratio of two independent medians and its interval.

    Zou, Donner: Construction of confidence limits about effect measures, Statistics in Medicine
    27 (2008), 1693-1702 (MOVER), for the difference of the logarithms: the distances from the
    median to the ends are added in quadrature on each side, so two 95 % intervals give one of about
    95 %. If an end is 0 or infinite, the interval is the smallest to the largest ratio of the ends.
    The result is NaN for NaN, infinity by infinity, and 0 by 0.
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

    Score of Mattson and others, MLPerf Training Benchmark, MLSys 2020. One infinite value, a missed
    target, is dropped; two or more make the result infinite. The result is NaN for fewer than 3
    values or if a value is NaN.
    """
    if len(values) < 3 or np.isnan(values).any():
        return math.nan
    return float(np.sort(values)[1:-1].mean())
