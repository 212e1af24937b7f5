"""Cut of a chain of units into stages of nearly equal cost.

A unit is a part of a model that a cut may not go through. Costs are numbers of parameters or
measured times. Among all cuts without an empty stage, the largest stage is minimal, and among those
the sum of the squares; exact, by dynamic programming over (units, stages).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise


def balanced(costs: Sequence[float], stages: int) -> list[int]:
    """Return the first unit of each stage, then the number of units: (stages + 1,) ascending.

    Errors: ValueError for more stages than units.
    """
    before = [0, *accumulate(costs)]
    return split(len(costs), stages, lambda _, start, stop: before[stop] - before[start])


def split(units: int, stages: int, cost: Callable[[int, int, int], float]) -> list[int]:
    """Return the bounds of the cut with the least largest cost(stage, start, stop), as `balanced`.

    Errors: ValueError for more stages than units.
    """
    if stages > units:
        raise ValueError(f"{stages} stages are more than {units} units")
    best: dict[int, tuple[float, float, list[int]]] = {0: (0, 0, [0])}
    for k in range(1, stages + 1):
        new: dict[int, tuple[float, float, list[int]]] = {}
        for stop in range(k, units - (stages - k) + 1):
            options = []
            for start, (largest, squares, bounds) in best.items():
                if start < stop:
                    c = cost(k - 1, start, stop)
                    options.append((max(largest, c), squares + c * c, [*bounds, stop]))
            new[stop] = min(options)
        best = new
    return best[units][2]


def parse(text: str, stages: int, units: int) -> list[int]:
    """Return the bounds of `cut=3/7/9`: the first unit of each stage but the first.

    Errors: ValueError with the rule.
    """
    try:
        starts = [int(x) for x in text.split("/")]
    except ValueError:
        raise ValueError(f"cut must be numbers of units, as 3/7/9, got {text!r}") from None
    bounds = [0, *starts, units]
    if len(starts) != stages - 1:
        raise ValueError(
            f"cut={text} makes {len(starts) + 1} stages: give stages={len(starts) + 1}"
        )
    if any(a >= b for a, b in pairwise(bounds)):
        raise ValueError(f"cut={text} must ascend within the units 1 to {units - 1} of the model")
    return bounds
