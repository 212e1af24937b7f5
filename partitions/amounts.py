"""Laws by which shards differ in size.

Symbols: n samples, W workers, k = 0 .. W - 1.
  dirichlet    Dir_W(parameter): NIID-Bench (Li et al., ICDE 2022), beta = 0.5
  log_normal   exp(parameter N(0, 1)): the sizes of FedProx (Li et al., MLSys 2020)
  linear       k + 1        square   (k + 1)^2
  exponential  e^(parameter k / (W - 1)): the largest e^parameter times the smallest, whatever W
  zipf         (k + 1)^-parameter
  giant        the part `parameter` of all samples for worker 0, the rest evenly
linear and square have no parameter.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from partitions.sizes import apportioned, shares

Weights: TypeAlias = Callable[[float, int, np.random.Generator], NDArray[np.float64]]
"""weights(parameter, parts, rng): (W,) float64, >= 0."""


def _giant(part: float, parts: int) -> NDArray[np.float64]:
    weights = np.full(parts, (1 - part) / max(1, parts - 1))
    weights[0] = part
    return weights


@dataclass(frozen=True)
class Law:
    """A law, the parameter it has by default, and the largest it can have: 0 where it has none."""

    weights: Weights
    default: float
    most: float


STEEPEST = 50.0
"""Of the exponents: one worker holds nearly all long before, and no weight overflows."""

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
    """Nothing, or ValueError for a law or a parameter that there is not."""
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
    """(W,) int64 sizes by a law, each at least min_size, summing to n.

    parameter: 0 takes the law's default.  Shares are rounded by largest remainders; what the law
    gives less than min_size is made up by the largest.
    Raises ValueError for what `check` refuses, and where W * min_size exceeds n.
    """
    check(law, parameter)
    if parts * min_size > n:
        raise ValueError(
            f"{parts} workers x min_size {min_size} need {parts * min_size}, but there are {n} "
            "samples: take a smaller min_size or fewer workers"
        )
    made = LAWS[law]
    return apportioned(made.weights(parameter or made.default, parts, rng), n, min_size)
