"""Statistics that stand up: medians with nonparametric intervals."""

import math

import numpy as np
from numpy.typing import NDArray

Z95 = 1.96
"""Normal quantile of a two-sided 95 % interval."""


def median_interval(values: NDArray[np.number]) -> tuple[float, float, float]:
    """Median and its 95 % confidence interval by order statistics, in the unit of the values.

    Hoefler, Belli: Scientific Benchmarking of Parallel Computing Systems, SC 2015, section 3.1.3:
    the ranks floor((n - z sqrt n)/2) and ceil(1 + (n + z sqrt n)/2), counted from 1. With fewer
    than 6 values no such interval exists: minimum and maximum are returned. NaN without values.
    """
    n = len(values)
    if n == 0:
        return math.nan, math.nan, math.nan
    ordered = np.sort(values)
    low = math.floor((n - Z95 * math.sqrt(n)) / 2)
    high = math.ceil(1 + (n + Z95 * math.sqrt(n)) / 2)
    lo, hi = ordered[max(low, 1) - 1], ordered[min(high, n) - 1]
    return float(np.median(ordered)), float(lo), float(hi)
