"""Vectors whose sum over the ranks is known exactly in every dtype.

Element i of rank r is (r mod 256) + 1 + (i mod 1021): a rank counted twice, left out or taken for
another, and a chunk in the wrong place, all change the sum; 1021 is prime, so no chunk of a power
of two elements hides. Every partial sum is below 2^24, exact in float32, up to 13,000 ranks.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

RANK_PERIOD, PLACE_PERIOD = 256, 1021
PLACES = np.arange(PLACE_PERIOD * 64) % PLACE_PERIOD
"""A block at a time, so that checking needs no second vector."""


def fill(vector: NDArray[Any], rank: int) -> None:
    """Set a vector, (d,), to what this rank contributes."""
    for a in range(0, len(vector), len(PLACES)):
        block = vector[a : a + len(PLACES)]
        block[:] = PLACES[: len(block)] + (rank % RANK_PERIOD + 1)


def wrong(vector: NDArray[Any], ranks: int) -> int:
    """The number of elements that differ from the sum over the ranks."""
    weights = sum(rank % RANK_PERIOD + 1 for rank in range(ranks))
    differ = 0
    for a in range(0, len(vector), len(PLACES)):
        block = vector[a : a + len(PLACES)]
        differ += int(np.count_nonzero(block != PLACES[: len(block)] * ranks + weights))
    return differ
