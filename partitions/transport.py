"""How many samples of each class each worker holds, with both margins met exactly.

The transport problem of a partition: of all (W, C) tables whose rows sum to the sizes of the shards
and whose columns sum to the samples of each class, the one of least Kullback-Leibler divergence
from wanted weights, and whole numbers beside it.

  balancing   Deming, Stephan, "On a Least Squares Adjustment of a Sampled Frequency Table When the
              Expected Marginal Totals are Known", Annals of Mathematical Statistics 11(4), 1940;
              Sinkhorn, "A Relationship Between Arbitrary Positive Matrices and Doubly Stochastic
              Matrices", ibid. 35(2), 1964
  Newton      Brauer, Clason, Lorenz, Wirth, "A Sinkhorn-Newton Method for Entropic Optimal
              Transport", 2017 (arXiv:1710.06635)
  remainder   Altschuler, Weed, Rigollet, "Near-linear Time Approximation Algorithms for Optimal
              Transport via Sinkhorn Iteration", NeurIPS 2017 (the rounding onto the polytope)
  rounding    Cox, Ernst, "Controlled Rounding", INFOR 20(4), 1982: what is asked of it

Departs from the sources: (1) Newton's steps are in the factors of the columns alone, those of the
rows follow from them; (2) controlled rounding is found by carrying remainders along the rows and
mending what is left by alternating paths.

From how many samples of each class a worker holds to which ones.

Symbols: C' the classes that are present, in ascending order.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from partitions.placing import shards_of
from partitions.protocol import Samples
from partitions.sizes import cut, top_up

Table = NDArray[np.float64]
Counts = NDArray[np.int64]

FLOOR = 1e-280
"""Of the largest weight of a row, what each of its entries has at least: a table of positive
entries can be fitted to any margins, where zeros might forbid it."""
COLDEST = 1e4
"""The range of logarithms that is told apart. Wider ones are scaled down to it: the cheapest table
stays the cheapest, and Newton's method gets there in some 40 steps."""
BALANCES, STEPS, NEAR = 10, 60, 1e-9
"""Rounds of balancing, Newton steps at most, and the part of all samples that may be misplaced
before the remainder."""


def fit(weights: Table, rows: Counts, columns: Counts) -> Table:
    """The table nearest to the weights that has these margins: (W, C) float64, >= 0.

    weights: (W, C) float64, >= 0, a positive one in every row; see FLOOR.  rows: (W,), columns:
    (C,) int64, >= 0, of one sum > 0.  Both margins are met to rounding.
    """
    most = weights.max(axis=1, keepdims=True)
    return fit_logarithms(np.log(np.maximum(weights / most, FLOOR)), rows, columns)


def fit_logarithms(logs: Table, rows: Counts, columns: Counts) -> Table:
    """`fit` to weights of which the logarithms are given: (W, C) float64, finite.

    A number added to a whole row changes nothing.  Weights far below the smallest float keep their
    order, see COLDEST.
    """
    used = np.ix_(rows > 0, columns > 0)
    logs = logs[used] - logs[used].max(axis=1, keepdims=True)
    logs *= min(1.0, COLDEST / max(1.0, -float(logs.min())))
    sizes = rows[rows > 0].astype(np.float64)
    classes = columns[columns > 0].astype(np.float64)
    if len(sizes) < len(classes):  # Newton's matrix has the shorter side
        fitted = _fitted(logs.T, classes, sizes).T
    else:
        fitted = _fitted(logs, sizes, classes)
    plan = np.zeros((len(rows), len(columns)))
    plan[used] = _on_margins(fitted, sizes, classes)
    return plan


def _fitted(logs: Table, rows: Table, columns: Table) -> Table:
    """exp(logs + u_i + v_j) whose rows are met, and whose columns nearly are.

    v minimises the convex sum_i rows_i log sum_j exp(logs_ij + v_j) - columns . v, whose gradient
    is what the columns have too much.
    """

    def at(v: Table) -> tuple[Table, float]:
        u = _logsumexp(logs + v, axis=1)
        return np.exp(logs + v - u) * rows[:, np.newaxis], float(rows @ u[:, 0] - columns @ v)

    v = np.zeros(len(columns))
    for _ in range(BALANCES):
        u = np.log(rows)[:, np.newaxis] - _logsumexp(logs + v, axis=1)
        v = np.log(columns) - _logsumexp(logs + u, axis=0)[0]
    plan, value = at(v)
    for _ in range(STEPS):
        sums = plan.sum(axis=0)
        gradient = sums - columns
        if np.abs(gradient).sum() <= NEAR * columns.sum():
            break
        hessian = np.diag(sums + 1e-9 * columns.sum()) - (plan / rows[:, np.newaxis]).T @ plan
        step = -np.linalg.solve(hessian, gradient)
        length, slack = 1.0, 1e-13 * columns.sum()  # slack: the rounding of the objective
        plan, tried = at(v + step)
        while tried > value + 1e-4 * length * (gradient @ step) + slack and length > 1e-9:
            length /= 2
            plan, tried = at(v + length * step)
        v, value = v + length * step, tried
    return plan


def _logsumexp(table: Table, axis: int) -> Table:
    """log sum exp along the axis, which stays with length 1."""
    top = table.max(axis=axis, keepdims=True)
    sums: Table = top + np.log(np.exp(table - top).sum(axis=axis, keepdims=True))
    return sums


def _on_margins(plan: Table, rows: Table, columns: Table) -> Table:
    """The plan with both margins met: excess scaled away, the lack added as a rank-one table."""
    plan = plan * (rows / np.maximum(rows, plan.sum(axis=1)))[:, np.newaxis]
    plan *= columns / np.maximum(columns, plan.sum(axis=0))
    lacks = np.maximum(rows - plan.sum(axis=1), 0)
    wants = np.maximum(columns - plan.sum(axis=0), 0)
    return plan + np.outer(lacks, wants / max(float(wants.sum()), np.finfo(np.float64).tiny))


def columnwise(weights: Table, columns: Counts, rng: np.random.Generator) -> Counts:
    """Each class divided by the weights of its column: (W, C) int64 whose columns are exact.

    weights: (W, C) float64, >= 0, a positive one in every column.  Every entry is its share of the
    column rounded up or down, in expectation exact (systematic sampling along a random order).
    """
    order = rng.permutation(len(weights))
    counts = np.empty(weights.shape, np.int64)
    counts[order] = cut(weights[order], columns, rng)
    return counts


def rounded(plan: Table, rows: Counts, columns: Counts, rng: np.random.Generator) -> Counts:
    """The plan with every entry rounded up or down and both margins exact: (W, C) int64, >= 0.

    plan: (W, C) float64 with these margins, as `fit` gives it.

    Numbers are taken to a grid so fine that a rounding exists still, which makes ties of what
    machines compute differently in the last digit; the rng breaks them.  One class after the other,
    the workers whose rounded-off parts have added up to most are rounded up; few rows miss then.
    """
    grid = 4 * plan.size
    low, part = np.divmod(np.rint(plan * grid).astype(np.int64), grid)
    up = np.zeros(plan.shape, np.bool_)
    order, carry = rng.permutation(len(plan)), np.zeros(len(plan), np.int64)
    for c in rng.permutation(len(columns)):
        carry += part[:, c]
        splits = order[part[order, c] > 0]
        most = splits[np.argsort(-carry[splits], kind="stable")[: columns[c] - low[:, c].sum()]]
        up[most, c] = True
        carry[most] -= grid
    surplus = low.sum(axis=1) + up.sum(axis=1) - rows
    while surplus.any():
        path = _alternating(up, (part > 0) & ~up, surplus)
        for (giver, c), (taker, _) in pairwise(path):
            up[giver, c], up[taker, c] = False, True
        surplus[path[0][0]] -= 1
        surplus[path[-1][0]] += 1
    return low + up


def _alternating(
    up: NDArray[np.bool_], down: NDArray[np.bool_], surplus: Counts
) -> list[tuple[int, int]]:
    """A shortest chain of (worker, class it gives one of to the next), from surplus to lack.

    up, down: (W, C), entries that can be lowered or raised by one.  The last class is -1.  A chain
    exists: the plan itself is a fractional rounding, and such flows have integral ones.
    """
    through, source = np.full(len(up), -1), np.full(up.shape[1], -1)
    found, reached = np.flatnonzero(surplus > 0), surplus > 0
    while True:
        classes = np.flatnonzero(up[found].any(axis=0) & (source < 0))
        assert classes.size, "the plan has not these margins"
        source[classes] = found[up[np.ix_(found, classes)].argmax(axis=0)]
        found = np.flatnonzero(down[:, classes].any(axis=1) & ~reached)
        through[found] = classes[down[np.ix_(found, classes)].argmax(axis=1)]
        reached[found] = True
        lacking = found[surplus[found] < 0]
        if lacking.size:
            path = [(int(lacking[0]), -1)]
            while surplus[path[0][0]] <= 0:
                c = int(through[path[0][0]])
                path.insert(0, (int(source[c]), c))
            return path


def class_sizes(samples: Samples) -> NDArray[np.int64]:
    """(C',) int64, how many samples each class that is present has."""
    sizes = np.bincount(samples.labels)
    return sizes[sizes > 0]


def dealt(
    samples: Samples,
    counts: NDArray[np.int64],
    rng: np.random.Generator,
    min_size: int = 0,
) -> list[NDArray[np.int64]]:
    """The shards in which worker k holds counts[k, c] random samples of the c-th class present.

    counts: (W, C') int64 whose columns sum to class_sizes.  A worker below min_size is topped up
    from the largest, see sizes.top_up.
    """
    parts, classes = counts.shape
    shuffled = rng.permutation(samples.size)
    by_class = shuffled[np.argsort(samples.labels[shuffled], kind="stable")]
    owners = np.empty(samples.size, np.int64)
    owners[by_class] = np.repeat(np.tile(np.arange(parts), classes), counts.T.ravel())
    top_up(owners, parts, min_size, rng)
    return shards_of(owners, parts)


def owned(
    parts: int, classes: int, k: int, assign: str, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """(W, C') bool: which classes each worker holds, k of them or all where there are fewer.

    random: worker i holds class i mod C' and k - 1 random others; deterministic: classes
    (i + j) mod C', j < k.  A class without an owner goes to worker c mod W as one more.
    """
    k = min(k, classes)
    first = np.arange(parts) % classes
    if assign == "deterministic":
        chosen = (first[:, np.newaxis] + np.arange(k)) % classes
    else:
        keys = rng.random((parts, classes))
        keys[np.arange(parts), first] = -1
        chosen = np.argsort(keys, axis=1)[:, :k]
    held = np.zeros((parts, classes), np.bool_)
    np.put_along_axis(held, chosen, True, axis=1)
    left = np.flatnonzero(~held.any(0))
    held[left % parts, left] = True
    return held
