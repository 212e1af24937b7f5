"""How many samples of each class each worker holds, with both margins met exactly.

The transport problem of a partition: a (W, C) table as near as possible to wanted shares, whose
rows sum to the sizes of the shards and whose columns sum to the samples of each class.

Deming, Stephan, "On a Least Squares Adjustment of a Sampled Frequency Table When the Expected
Marginal Totals are Known", Annals of Mathematical Statistics 11(4), 1940 (iterative proportional
fitting); Sinkhorn, "A Relationship Between Arbitrary Positive Matrices and Doubly Stochastic
Matrices", ibid. 35(2), 1964.  Of all tables with these margins the fit is the one of least
Kullback-Leibler divergence from the weights.
"""

import numpy as np
from numpy.typing import NDArray

FLOOR = 1e-280
"""Of the largest weight of a row, what each of its entries has at least: a table of positive
entries can be fitted to any margins, where zeros might forbid it."""
ROUNDS, NEAR = 300, 0.01
"""Rounds of fitting at most; rows that miss by no more than so many samples are met."""


def fit(
    weights: NDArray[np.float64], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The table nearest to the weights that has these margins: (W, C) float64, >= 0.

    weights: (W, C) float64, >= 0, a positive one in every row.  rows: (W,), columns: (C,) int64 of
    one sum.  Columns are met to rounding, rows to NEAR unless ROUNDS are over.
    """
    plan: NDArray[np.float64] = np.maximum(weights, FLOOR * weights.max(1, keepdims=True))
    wanted = rows.astype(np.float64)
    for _ in range(ROUNDS):
        plan *= (wanted / plan.sum(1))[:, np.newaxis]
        plan *= columns / plan.sum(0)
        if np.abs(plan.sum(1) - wanted).max() <= NEAR:
            break
    return plan


def columnwise(
    weights: NDArray[np.float64], columns: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Each class divided by the weights of its column: (W, C) int64 whose columns are exact.

    weights: (W, C) float64, >= 0, a positive one in every column.  Every entry is its share of the
    column rounded up or down, in expectation exact (systematic sampling along a random order).
    """
    order = rng.permutation(len(weights))
    ends = np.cumsum(weights[order], axis=0)
    cuts = np.floor(ends / ends[-1] * columns + rng.random(len(columns))).astype(np.int64)
    cuts = np.minimum(cuts, columns)  # n + offset can round up to n + 1
    counts = np.empty(weights.shape, np.int64)
    counts[order] = np.diff(cuts, axis=0, prepend=0)
    return counts


def rounded(
    plan: NDArray[np.float64],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Whole numbers near the plan whose rows and columns are exact: (W, C) int64, >= 0.

    Columns are rounded first; then workers above their size give what they hold most above the
    plan to the worker below its size that lacks most of that class.
    """
    counts = columnwise(plan, columns, rng)
    surplus = counts.sum(1) - rows
    givers = np.flatnonzero(surplus > 0)
    for k in givers[np.argsort(-surplus[givers], kind="stable")]:
        while surplus[k] > 0:
            excess = np.where(counts[k] > 0, counts[k] - plan[k], -np.inf)
            c = int(excess.argmax())
            short = np.flatnonzero(surplus < 0)
            to = short[int((plan[short, c] - counts[short, c]).argmax())]
            # Far from the plan many go at once: a fit that ran out of rounds must not cost n moves.
            moved = max(1, min(surplus[k], -surplus[to], counts[k, c]) // 2)
            counts[k, c] -= moved
            counts[to, c] += moved
            surplus[k] -= moved
            surplus[to] += moved
    return counts
