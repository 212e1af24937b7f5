"""The extreme eigenvalues of a symmetric mixing matrix with thousands of rows, from its links.

Lanczos, An iteration method for the solution of the eigenvalue problem, J. Res. NBS 1950.
Symbols: S a symmetric operator, 1 its eigenvector of agreement, T the tridiagonal matrix with
diagonal alpha and off-diagonal beta that S is in the basis of the first m Krylov vectors.

The basis is not orthogonalised again: rounding then makes eigenvalues of T appear twice, which
leaves the extreme ones where they are.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Vector: TypeAlias = NDArray[np.float64]

MOST_STEPS = 10_000
"""Enough for a chain of 4,096, whose eigenvalues lie closest; some seconds."""
FIRST_STEPS = 32
"""Steps before the first look at T; each further look is after twice as many."""
SETTLED = 1e-7
"""T is large enough when doubling it moves an eigenvalue by less than this part of its distance
from the nearer end of [-1, 1]."""


def extremes(S: Callable[[Vector], Vector], agreement: Vector) -> tuple[float, float]:
    """The smallest and the largest eigenvalue of S on what is orthogonal to `agreement`.

    S has its eigenvalues in [-1, 1] and `agreement`, (W,) float64, as an eigenvector. What has not
    settled after MOST_STEPS is as near as it came, from within.
    """
    if len(agreement) == 1:
        return 0.0, 0.0
    one = agreement / np.linalg.norm(agreement)

    def apart(x: Vector) -> Vector:
        rest: Vector = x - one * (one @ x)
        return rest

    q = apart(np.random.default_rng(0).standard_normal(len(one)))
    q /= np.linalg.norm(q)
    before, alpha, beta = np.zeros_like(q), list[float](), [0.0]
    found, look = (1.0, -1.0), FIRST_STEPS
    while len(alpha) < MOST_STEPS:
        r = apart(S(q)) - beta[-1] * before
        alpha.append(float(q @ r))
        r -= alpha[-1] * q
        length = float(np.linalg.norm(r))
        if length < 1e-13:  # the Krylov space is whole
            break
        if len(alpha) == look:
            last, found, look = found, _ends(alpha, beta), 2 * look
            moved = zip(last, found, strict=True)
            if all(abs(x - y) <= SETTLED * (1 - abs(y)) for x, y in moved):
                return found
        beta.append(length)
        before, q = q, r / length
    return _ends(alpha, beta)


def _ends(alpha: list[float], beta: list[float]) -> tuple[float, float]:
    """The smallest and the largest eigenvalue of T; beta[i] couples the rows i - 1 and i."""
    squares = [b * b for b in beta[: len(alpha)]]
    largest = _largest(alpha, squares)
    return -_largest([-a for a in alpha], squares), largest


def _largest(alpha: list[float], squares: list[float]) -> float:
    """The largest eigenvalue of T, by bisection: above it all pivots of x - T are positive."""
    low, high = -1.5, 1.5
    while high - low > 1e-15:
        x = (low + high) / 2
        if x in (low, high):
            break
        pivot = 1.0
        for a, b in zip(alpha, squares, strict=True):
            pivot = x - a - b / pivot
            if pivot <= 0:
                low = x
                break
        else:
            high = x
    return high
