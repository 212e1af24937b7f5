"""Validation of collectives on known vectors.

Element i of rank r is (r mod 256) + 1 + (i mod 1021): a rank counted twice, omitted or confused
with another, and a misplaced chunk, all change the result; 1021 is prime, so that no chunk of a
power of two elements goes unnoticed. Every partial sum is below 2^24, exact in float32, up to
13,000 ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algorithms.collectives.protocol import chunk

RANK_PERIOD, ELEMENT_PERIOD = 256, 1021
BLOCK = ELEMENT_PERIOD * 64
"""Elements that are compared at a time: a validation needs no second vector of its size."""
PATTERN = np.arange(BLOCK + ELEMENT_PERIOD) % ELEMENT_PERIOD


@dataclass(frozen=True)
class Part:
    """Consecutive elements of a correct result: `times` the pattern from `first` on, plus `add`."""

    n: int
    first: int
    times: int
    add: int


def fill(vector: NDArray[Any], rank: int) -> None:
    """Set a vector, (d,), to the contribution of a rank."""
    for a in range(0, len(vector), BLOCK):
        block = vector[a : a + BLOCK]
        block[:] = PATTERN[: len(block)] + _weight(rank)


def expected(op: str, rank: int, p: int, d: int) -> list[Part]:
    """Return the correct result of an operation on (d,) vectors, on a rank of p."""
    lo, hi = chunk(rank, p, d)
    total = sum(_weight(r) for r in range(p))
    if op == "allreduce":
        return [Part(d, 0, p, total)]
    if op == "reduce_scatter":
        return [Part(hi - lo, lo, p, total)]
    if op == "broadcast":
        return [Part(d, 0, 1, _weight(0))]
    if op == "all_to_all":
        return [Part(hi - lo, lo, 1, _weight(r)) for r in range(p)]
    chunks = [chunk(r, p, d) for r in range(p)]
    return [Part(b - a, a, 1, _weight(r)) for r, (a, b) in enumerate(chunks)]  # all_gather


def count_wrong(result: NDArray[Any], parts: Sequence[Part]) -> int:
    """Return the number of elements of a result, (n,), that differ from the parts in order."""
    wrong = at = 0
    for part in parts:
        for a in range(0, part.n, BLOCK):
            n = min(BLOCK, part.n - a)
            first = (part.first + a) % ELEMENT_PERIOD
            block = PATTERN[first : first + n] * part.times + part.add
            wrong += int(np.count_nonzero(result[at : at + n] != block))
            at += n
    return wrong


def _weight(rank: int) -> int:
    return rank % RANK_PERIOD + 1
