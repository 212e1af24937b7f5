"""Extreme eigenvalues of a symmetric mixing matrix with thousands of rows, from its links.

Lanczos, An iteration method for the solution of the eigenvalue problem, J. Res. NBS 1950.
Symbols: S a symmetric operator, 1 its consensus eigenvector, T the tridiagonal matrix with
diagonal alpha and off-diagonal beta that S is in the basis of the first m Krylov vectors.

The basis is not reorthogonalised: rounding then duplicates eigenvalues of T, which does not move
the extreme ones.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Vector: TypeAlias = NDArray[np.float64]

MOST_STEPS = 10_000
"""Maximum number of steps: enough for a chain of 4,096 workers, in some seconds."""
FIRST_STEPS = 32
"""Steps before the first eigenvalues of T; they are computed again after twice as many."""
SETTLED = 1e-7
"""Tolerance: relative to its distance from the nearer end of [-1, 1], the change of an eigenvalue
when T doubles in size."""


def extremes(S: Callable[[Vector], Vector], agreement: Vector) -> tuple[float, float]:
    """Return the extreme eigenvalues of S on the orthogonal complement of `agreement`.

    S has its eigenvalues in [-1, 1] and `agreement`, (W,) float64, as an eigenvector. An eigenvalue
    that has not converged after MOST_STEPS is approximated from the inside.
    """
    if len(agreement) == 1:
        return 0.0, 0.0
    one = agreement / np.linalg.norm(agreement)

    def project(x: Vector) -> Vector:
        rest: Vector = x - one * (one @ x)
        return rest

    q = project(np.random.default_rng(0).standard_normal(len(one)))
    q /= np.linalg.norm(q)
    before, alpha, beta = np.zeros_like(q), list[float](), [0.0]
    ends, check = (1.0, -1.0), FIRST_STEPS
    while len(alpha) < MOST_STEPS:
        r = project(S(q)) - beta[-1] * before
        alpha.append(float(q @ r))
        r -= alpha[-1] * q
        length = float(np.linalg.norm(r))
        if length < 1e-13:  # the Krylov space is complete
            break
        if len(alpha) == check:
            last, ends, check = ends, _ends(alpha, beta), 2 * check
            changes = zip(last, ends, strict=True)
            if all(abs(x - y) <= SETTLED * (1 - abs(y)) for x, y in changes):
                return ends
        beta.append(length)
        before, q = q, r / length
    return _ends(alpha, beta)


def _ends(alpha: list[float], beta: list[float]) -> tuple[float, float]:
    """Return the extreme eigenvalues of T; beta[i] couples the rows i - 1 and i."""
    squares = [b * b for b in beta[: len(alpha)]]
    largest = _largest(alpha, squares)
    return -_largest([-a for a in alpha], squares), largest


def _largest(alpha: list[float], squares: list[float]) -> float:
    """Return the largest eigenvalue of T by bisection: the pivots of x - T are positive above."""
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
