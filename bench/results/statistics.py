"""Medians, means and their ratios, with confidence intervals."""

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from algorithms.wire.meter import BUBBLE, FORWARD

Z95 = 1.96
"""Normal quantile of a two-sided 95 % interval."""
Interval: TypeAlias = tuple[float, float, float]
"""Median or mean, lower end and upper end of its interval; NaN if there is none."""
BATCHES = 30
"""Maximum number of batches of a mean."""
T95: tuple[float, ...] = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
T95 += (2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086)
T95 += (2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045)
"""Student's t of a two-sided 95 % interval, for 1 to BATCHES - 1 degrees of freedom."""


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


def mean_interval(values: NDArray[np.number], cycle: int) -> Interval:
    """Return the mean and its 95 % interval by batch means, in the values' unit.

    Law: Simulation Modeling and Analysis, section 9.5.3: consecutive values are divided into up to
    BATCHES batches of equal length, here whole cycles; the interval is Student's t of the means of
    the batches, which are far less correlated than the values. Durations are at least 0, and so is
    the lower end. Incomplete cycles at the end are left out, unless there is no complete one. There
    is no interval with fewer than 2 batches. The result is NaN without values.
    """
    if not len(values):
        return math.nan, math.nan, math.nan
    cycles = len(values) // cycle
    mean = float(values[: cycles * cycle or None].mean())
    per_batch = -(-cycles // BATCHES) * cycle
    batches = cycles * cycle // per_batch if cycles else 0
    if batches < 2:
        return mean, math.nan, math.nan
    means = values[: batches * per_batch].reshape(batches, per_batch).mean(1)
    half = T95[batches - 2] * float(means.std(ddof=1)) / math.sqrt(batches)
    return mean, max(0.0, mean - half), mean + half


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


def bubble_share(spent: NDArray[np.int64]) -> float:
    """Return the share of waiting for inputs in the time of stages; NaN without pipelines.

    spent: (steps, ranks, phases), ns.
    """
    total = int(spent[:, :, FORWARD:].sum())
    return float(spent[:, :, BUBBLE:].sum()) / total if total else math.nan
