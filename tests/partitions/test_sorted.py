"""Data in the order of labels, and dealt in turn: each against a loop over the samples."""

import numpy as np
import pytest

from partitions.protocol import Samples
from partitions.shards import Sorted
from partitions.strided import Strided

LABELS = np.random.default_rng(0).choice([0, 2, 7], 203, p=[0.7, 0.2, 0.1])
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("parts", [1, 2, 7, 101, 203])
def test_sorted_runs_equal_a_sort_by_label_then_index(parts: int) -> None:
    shards = Sorted().split(Samples(LABELS), parts, RNG)
    order = sorted(range(203), key=lambda i: (LABELS[i], i))
    start = 0
    for k, shard in enumerate(shards):
        size = 203 // parts + (k < 203 % parts)
        assert shard.tolist() == sorted(order[start : start + size])
        start += size
    assert start == 203


@pytest.mark.parametrize(("parts", "block"), [(1, 500), (2, 1), (7, 3), (7, 33), (203, 1)])
def test_strided_deals_blocks_in_turn(parts: int, block: int) -> None:
    shards = Strided(block=block).split(Samples(LABELS), parts, RNG)
    for i in range(203):
        assert i in shards[i // block % parts]
    sizes = [len(shard) for shard in shards]
    assert sum(sizes) == 203
    assert max(sizes) - min(sizes) <= block or parts == 1


def test_blocks_that_leave_workers_empty_are_refused_from_the_first_size_on() -> None:
    assert len(Strided(block=33).split(Samples(LABELS), 7, RNG)[-1]) == 203 - 6 * 33
    with pytest.raises(ValueError, match=r"^7 workers but 203 samples in blocks of 34: workers wo"):
        Strided(block=34).split(Samples(LABELS), 7, RNG)
    with pytest.raises(ValueError, match="block must be >= 1, got 0"):
        Strided(block=0)
