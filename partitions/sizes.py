"""Sizes of shards: random shares and laws, cut into whole samples, and small shards topped up.

Laws by which shards differ in size. Symbols: n samples, W workers, k = 0 .. W - 1.
  dirichlet    Dir_W(parameter): NIID-Bench (Li et al., ICDE 2022), beta = 0.5
  log_normal   exp(parameter N(0, 1)): the sizes of FedProx (Li et al., MLSys 2020)
  linear       k + 1        square   (k + 1)^2
  exponential  e^(parameter k / (W - 1)): the largest is e^parameter times the smallest for any W
  zipf         (k + 1)^-parameter
  giant        the fraction `parameter` of all samples for worker 0, the rest evenly
linear and square have no parameter.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Shares: TypeAlias = NDArray[np.float64]
ALPHA_FLOOR = 1e-300
"""Minimum alpha: below it one worker takes all of q in float64. E / alpha stays finite."""


def dirichlet(alpha: float, shape: tuple[int, ...], rng: np.random.Generator) -> Shares:
    """Draw q ~ Dir(alpha), alpha > 0, along the last axis: float64 of this shape, summing to 1.

    q is a normalised vector of Gamma(alpha) draws.
    """
    return softmax(log_gamma(alpha, shape, rng))


def log_gamma(alpha: float, shape: tuple[int, ...], rng: np.random.Generator) -> Shares:
    """Draw logarithms of Gamma(alpha), finite float64 of this shape; their softmax is Dir(alpha).

    Each is Gamma(alpha + 1) * U^(1 / alpha): below alpha of about 1e-2 the draws themselves
    underflow.
    """
    gamma = rng.standard_gamma(alpha + 1.0, shape) + np.finfo(np.float64).tiny  # avoids log(0)
    exponential = rng.standard_exponential(shape)  # -log U
    return np.log(gamma) - exponential / max(alpha, ALPHA_FLOOR)


def softmax(logarithms: Shares) -> Shares:
    """Return exp(logarithms) normalised along the last axis; -inf is a share of 0."""
    q: Shares = np.exp(logarithms - logarithms.max(-1, keepdims=True))
    q /= q.sum(-1, keepdims=True)
    return q


def shares(alpha: float, parts: int, rng: np.random.Generator) -> Shares:
    """Draw q ~ Dir_parts(alpha): (parts,) float64."""
    return dirichlet(alpha, (parts,), rng)


def even(n: int, parts: int) -> NDArray[np.int64]:
    """Return sizes that differ by at most one and sum to n, the larger first: (W,) int64."""
    sizes: NDArray[np.int64] = np.full(parts, n // parts, np.int64)
    sizes[: n % parts] += 1
    return sizes


def apportion(weights: NDArray[np.float64], n: int, min_size: int = 1) -> NDArray[np.int64]:
    """Return sizes in proportion to the weights, each at least min_size: (W,) int64, summing to n.

    weights: (W,) float64, >= 0, not all 0; W * min_size <= n. Rounds by largest remainders
    (Hamilton), ties to the lowest ids; the largest shards make up for those below min_size.
    """
    exact = weights / weights.sum() * n
    sizes: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    left = n - int(sizes.sum())
    sizes[np.argsort(sizes - exact, kind="stable")[:left]] += 1
    lacking = np.maximum(min_size - sizes, 0)
    gives = gifts_of_largest(sizes, int(lacking.sum()))
    sizes += lacking - gives
    return sizes


def cut(
    q: NDArray[np.float64], n: int | NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the number of samples of each share of q: (W,) int64, summing to n, of mean q * n.

    q: (W,) float64, shares; or (W, C) with n (C,), column by column. One random offset in [0, 1)
    rounds every cut of a column, so each count is q * n rounded up or down (systematic sampling).
    """
    ends = np.cumsum(q, axis=0)
    cuts = np.floor(ends / ends[-1] * n + rng.random(np.shape(n))).astype(np.int64)
    # n + offset can round up to n + 1 in floating point.
    counts: NDArray[np.int64] = np.diff(np.minimum(cuts, n), axis=0, prepend=0)
    return counts


def top_up(owners: NDArray[np.int64], parts: int, min_size: int, rng: np.random.Generator) -> int:
    """Move samples until every worker holds min_size; return the number of moves.

    owners: (n,) int64, the worker of each sample, updated in place; n >= parts * min_size. Samples
    come one by one from the shard that is the largest at that moment: the number that each worker
    gives is computed first (gifts_of_largest), then that many of its samples are drawn and dealt to
    the short workers at random. Draws nothing if no worker is short.
    """
    sizes = np.bincount(owners, minlength=parts)
    short = np.maximum(min_size - sizes, 0)
    moves = int(short.sum())
    if moves == 0:
        return 0
    gives = gifts_of_largest(sizes, moves)
    shuffled = rng.permutation(owners.size)
    grouped = shuffled[np.argsort(owners[shuffled], kind="stable")]  # by owner, in random order
    rank = np.arange(owners.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    moved = grouped[rank < np.repeat(gives, sizes)]
    owners[rng.permutation(moved)] = np.repeat(np.arange(parts), short)
    return moves


def gifts_of_largest(sizes: NDArray[np.int64], moves: int) -> NDArray[np.int64]:
    """Return the samples that each worker gives if the largest gives one, `moves` times.

    sizes: (W,) int64, with moves <= sizes.sum(). Returns (W,) int64, summing to moves. The order
    does not change the totals: a bisection finds the level to which the largest are cut, and the
    remaining moves take one more from the lowest ids at that level.
    """
    low, high = 0, int(sizes.max())
    while low < high:
        level = (low + high) // 2
        if np.maximum(sizes - level, 0).sum() <= moves:
            high = level
        else:
            low = level + 1
    gives = np.maximum(sizes - low, 0)
    gives[np.flatnonzero(sizes >= low)[: moves - int(gives.sum())]] += 1
    return gives


Weights: TypeAlias = Callable[[float, int, np.random.Generator], NDArray[np.float64]]
"""weights(parameter, parts, rng): (W,) float64, >= 0."""


def _giant(part: float, parts: int) -> NDArray[np.float64]:
    weights = np.full(parts, (1 - part) / max(1, parts - 1))
    weights[0] = part
    return weights


@dataclass(frozen=True)
class Law:
    """Law of sizes with the default and the maximum of its parameter, 0 if it has none."""

    weights: Weights
    default: float
    most: float


STEEPEST = 50.0
"""Maximum exponent: no weight overflows, and one worker holds nearly all samples before that."""

LAWS: dict[str, Law] = {
    "dirichlet": Law(shares, 0.5, np.finfo(np.float64).max),
    "log_normal": Law(lambda s, W, rng: np.exp(s * rng.standard_normal(W)), 1.0, STEEPEST),
    "linear": Law(lambda _, W, rng: np.arange(1.0, W + 1), 0.0, 0.0),
    "square": Law(lambda _, W, rng: np.arange(1.0, W + 1) ** 2, 0.0, 0.0),
    "exponential": Law(lambda s, W, rng: np.exp(s * np.linspace(-1, 0, W)), 3.0, STEEPEST),
    "zipf": Law(lambda s, W, rng: np.arange(1.0, W + 1) ** -s, 1.0, STEEPEST),
    "giant": Law(lambda part, W, rng: _giant(part, W), 0.5, 1.0),
}


def check(law: str, parameter: float) -> None:
    """Refuse an unknown law and a parameter out of range by ValueError."""
    if law not in LAWS:
        raise ValueError(f"law must be one of {', '.join(LAWS)}, got {law!r}")
    if 0 <= parameter <= LAWS[law].most:
        return
    if LAWS[law].most == 0:
        raise ValueError(f"law {law} has no parameter: leave parameter={parameter} out")
    raise ValueError(
        f"parameter must be >= 0 and at most {LAWS[law].most:g}, 0 for the default of the law, "
        f"{LAWS[law].default:g}; got {parameter}"
    )


def amounts(
    law: str, parameter: float, n: int, parts: int, min_size: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return sizes by a law, each at least min_size: (W,) int64, summing to n.

    parameter: 0 takes the law's default. Shares are rounded by largest remainders; the largest
    shards make up for those below min_size.
    Raises ValueError for an unknown law, for a parameter out of range, and if W * min_size
    exceeds n.
    """
    check(law, parameter)
    if parts * min_size > n:
        raise ValueError(
            f"{parts} workers x min_size {min_size} need {parts * min_size}, but there are {n} "
            "samples: take a smaller min_size or fewer workers"
        )
    chosen = LAWS[law]
    return apportion(chosen.weights(parameter or chosen.default, parts, rng), n, min_size)
