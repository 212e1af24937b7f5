"""Softmax regression in numpy: its loss, and where that is least."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

PRECISION = 1e-8
"""How far above its least value the loss of an optimum may be."""


def softmax(logits: NDArray[Any], targets: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Shares of the classes, (..., C), and the loss of each sample, (...), of targets (...)."""
    logits = logits - logits.max(-1, keepdims=True)
    exponentials = np.exp(logits)
    total = exponentials.sum(-1)
    wanted = np.take_along_axis(logits, targets[..., None], -1)[..., 0]
    return exponentials / total[..., None], np.log(total) - wanted


def against(shares: NDArray[Any], targets: NDArray[np.int64]) -> NDArray[Any]:
    """The gradient of each sample's loss by its logits, (..., C), in place of the shares."""
    at = targets[..., None]
    np.put_along_axis(shares, at, np.take_along_axis(shares, at, -1) - 1, -1)
    return shares


def optimum(
    inputs: NDArray[np.float64], labels: NDArray[np.int64], classes: int, l2: float
) -> tuple[NDArray[np.float64], float]:
    """The optimum of bench.tasks.logistic's f, (classes * f,), and f there, by L-BFGS.

    inputs: (n, f). Errors: ValueError where it is not found to within PRECISION.
    """
    from scipy.optimize import minimize

    n, shape = len(labels), (classes, inputs.shape[1])

    def loss(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        shares, each = softmax(inputs @ w.reshape(shape).T, labels)
        gradient = (against(shares, labels).T @ inputs / n).ravel() + l2 * w
        return float(each.mean() + l2 / 2 * (w @ w)), gradient

    found = minimize(
        loss,
        np.zeros(classes * inputs.shape[1]),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 20_000, "maxfun": 40_000, "ftol": 0.0, "gtol": 1e-9, "maxcor": 30},
    )
    bound = float(found.jac @ found.jac) / (2 * l2)  # f is l2-strongly convex
    if bound > PRECISION:
        raise ValueError(
            f"l2={l2:g}: the optimum is found to within {bound:.2g} only, and {PRECISION:g} is "
            "needed: take a larger l2"
        )
    return found.x, float(found.fun)
