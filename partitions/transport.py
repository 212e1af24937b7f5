"""Tables of samples by worker and class, both margins met exactly, and the shards dealt by them.

The transport problem of a partition: of all (W, C) tables whose rows sum to the sizes of the shards
and whose columns sum to the samples of each class, find the one of least Kullback-Leibler
divergence from given weights, and round it to whole numbers.

  balancing   Deming, Stephan, "On a Least Squares Adjustment of a Sampled Frequency Table When the
              Expected Marginal Totals are Known", Annals of Mathematical Statistics 11(4), 1940;
              Sinkhorn, "A Relationship Between Arbitrary Positive Matrices and Doubly Stochastic
              Matrices", ibid. 35(2), 1964
  Newton      Brauer, Clason, Lorenz, Wirth, "A Sinkhorn-Newton Method for Entropic Optimal
              Transport", 2017 (arXiv:1710.06635)
  remainder   Altschuler, Weed, Rigollet, "Near-linear Time Approximation Algorithms for Optimal
              Transport via Sinkhorn Iteration", NeurIPS 2017 (the rounding onto the polytope)
  rounding    Cox, Ernst, "Controlled Rounding", INFOR 20(4), 1982: its conditions

Symbols: C' the number of classes present, in ascending order.

Departs from the sources: (1) Newton's steps are in the factors of the columns alone, those of the
rows follow from them; (2) controlled rounding carries remainders along the rows and repairs the
rest by alternating paths.
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
"""Minimum of an entry, relative to the largest of its row: a positive table fits any margins, a
table with zeros may fit none."""
COLDEST = 1e4
"""Maximum range of logarithms. Wider ones are scaled down to it, so that Newton's method converges
in some 40 steps; the cheapest table stays the cheapest."""
BALANCES, STEPS, NEAR = 10, 60, 1e-9
"""Rounds of balancing, maximum of Newton steps, and the fraction of samples that the remainder
may have to move."""


def fit(weights: Table, rows: Counts, columns: Counts) -> Table:
    """Return the table nearest to the weights with these margins: (W, C) float64, >= 0.

    weights: (W, C) float64, >= 0, with a positive entry in every row; see FLOOR. rows: (W,),
    columns: (C,) int64, >= 0, of one sum > 0. Both margins are met up to rounding errors.
    """
    most = weights.max(axis=1, keepdims=True)
    return fit_logarithms(np.log(np.maximum(weights / most, FLOOR)), rows, columns)


def fit_logarithms(logs: Table, rows: Counts, columns: Counts) -> Table:
    """Return the table of `fit` for the logarithms of weights: (W, C) float64, finite.

    A constant added to a whole row changes nothing. Weights far below the smallest float keep
    their order, see COLDEST.
    """
    used = np.ix_(rows > 0, columns > 0)
    logs = logs[used] - logs[used].max(axis=1, keepdims=True)
    logs *= min(1.0, COLDEST / max(1.0, -float(logs.min())))
    sizes = rows[rows > 0].astype(np.float64)
    classes = columns[columns > 0].astype(np.float64)
    if len(sizes) < len(classes):  # Newton's matrix has the shorter side
        table = _fit_columns(logs.T, classes, sizes).T
    else:
        table = _fit_columns(logs, sizes, classes)
    plan = np.zeros((len(rows), len(columns)))
    plan[used] = _on_margins(table, sizes, classes)
    return plan


def _fit_columns(logs: Table, rows: Table, columns: Table) -> Table:
    """Return exp(logs + u_i + v_j) with exact row sums and nearly exact column sums.

    v minimises the convex sum_i rows_i log sum_j exp(logs_ij + v_j) - columns . v. Its gradient is
    the excess of the columns.
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
    """Return log sum exp along the axis, which stays with length 1."""
    top = table.max(axis=axis, keepdims=True)
    sums: Table = top + np.log(np.exp(table - top).sum(axis=axis, keepdims=True))
    return sums


def _on_margins(plan: Table, rows: Table, columns: Table) -> Table:
    """Return the plan with both margins met: excess is scaled away, a lack added in rank one."""
    plan = plan * (rows / np.maximum(rows, plan.sum(axis=1)))[:, np.newaxis]
    plan *= columns / np.maximum(columns, plan.sum(axis=0))
    lacks = np.maximum(rows - plan.sum(axis=1), 0)
    wants = np.maximum(columns - plan.sum(axis=0), 0)
    return plan + np.outer(lacks, wants / max(float(wants.sum()), np.finfo(np.float64).tiny))


def divide_columns(weights: Table, columns: Counts, rng: np.random.Generator) -> Counts:
    """Divide each class by the weights of its column: (W, C) int64 with exact columns.

    weights: (W, C) float64, >= 0, with a positive entry in every column. Every entry is its share
    of the column rounded up or down, exact in expectation (systematic sampling in random order).
    """
    order = rng.permutation(len(weights))
    counts = np.empty(weights.shape, np.int64)
    counts[order] = cut(weights[order], columns, rng)
    return counts


def round_table(plan: Table, rows: Counts, columns: Counts, rng: np.random.Generator) -> Counts:
    """Round every entry of the plan up or down with both margins exact: (W, C) int64, >= 0.

    plan: (W, C) float64 with these margins, as returned by `fit`.

    Entries are first rounded to a grid fine enough for a solution to exist. It turns differences
    between machines in the last digit into ties, which the rng breaks. Class by class, the
    workers with the largest accumulated remainders are rounded up; few rows are off afterwards.
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
    """Return a shortest chain of (worker, class of the sample it passes on), from surplus to lack.

    up, down: (W, C), entries that can be lowered or raised by one. The last class is -1. A chain
    exists, because the plan itself is a fractional rounding and such flows have integral ones.
    """
    through, source = np.full(len(up), -1), np.full(up.shape[1], -1)
    frontier, reached = np.flatnonzero(surplus > 0), surplus > 0
    while True:
        classes = np.flatnonzero(up[frontier].any(axis=0) & (source < 0))
        assert classes.size, "the plan does not have these margins"
        source[classes] = frontier[up[np.ix_(frontier, classes)].argmax(axis=0)]
        frontier = np.flatnonzero(down[:, classes].any(axis=1) & ~reached)
        through[frontier] = classes[down[np.ix_(frontier, classes)].argmax(axis=1)]
        reached[frontier] = True
        lacking = frontier[surplus[frontier] < 0]
        if lacking.size:
            path = [(int(lacking[0]), -1)]
            while surplus[path[0][0]] <= 0:
                c = int(through[path[0][0]])
                path.insert(0, (int(source[c]), c))
            return path


def class_sizes(samples: Samples) -> NDArray[np.int64]:
    """Return the number of samples of each class present: (C',) int64."""
    sizes = np.bincount(samples.labels)
    return sizes[sizes > 0]


def deal(
    samples: Samples,
    counts: NDArray[np.int64],
    rng: np.random.Generator,
    min_size: int = 0,
) -> list[NDArray[np.int64]]:
    """Deal worker k counts[k, c] random samples of the c-th class present; return the shards.

    counts: (W, C') int64 whose columns sum to class_sizes. A worker below min_size is topped up
    from the largest, see sizes.top_up.
    """
    parts, classes = counts.shape
    shuffled = rng.permutation(samples.size)
    by_class = shuffled[np.argsort(samples.labels[shuffled], kind="stable")]
    owners = np.empty(samples.size, np.int64)
    owners[by_class] = np.repeat(np.tile(np.arange(parts), classes), counts.T.ravel())
    top_up(owners, parts, min_size, rng)
    return shards_of(owners, parts)


def class_owners(
    parts: int, classes: int, k: int, assign: str, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Choose k classes, or all if there are fewer, for each worker: (W, C') bool.

    random: worker i owns class i mod C' and k - 1 random others; deterministic: classes
    (i + j) mod C', j < k. A class c without an owner goes to worker c mod W in addition.
    """
    k = min(k, classes)
    first = np.arange(parts) % classes
    if assign == "deterministic":
        chosen = (first[:, np.newaxis] + np.arange(k)) % classes
    else:
        keys = rng.random((parts, classes))
        keys[np.arange(parts), first] = -1
        chosen = np.argsort(keys, axis=1)[:, :k]
    owns = np.zeros((parts, classes), np.bool_)
    np.put_along_axis(owns, chosen, True, axis=1)
    left = np.flatnonzero(~owns.any(0))
    owns[left % parts, left] = True
    return owns
