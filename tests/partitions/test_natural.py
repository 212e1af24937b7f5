"""Whole groups to workers: as even as possible, or any group to any worker by lot."""

from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from partitions.natural import Natural
from partitions.placing import assign_groups
from partitions.protocol import Samples


def owners(sizes: list[int], parts: int, assign: str = "balanced", seed: int = 0) -> list[int]:
    """Return owners of samples in runs of groups, with gaps between their names."""
    group = np.repeat(7 * np.arange(len(sizes)) + 3, sizes)
    return [int(k) for k in assign_groups(group, parts, assign, np.random.default_rng(seed))]


@settings(deadline=None, max_examples=30)
@given(sizes=st.lists(st.integers(1, 20), min_size=2, max_size=6), parts=st.integers(2, 3))
def test_balanced_is_within_grahams_bound_of_the_best(sizes: list[int], parts: int) -> None:
    """4/3 - 1 / (3 W) of the best, from an exhaustive search."""
    parts = min(parts, len(sizes))
    best = min(
        max(np.bincount(chosen, weights=sizes, minlength=parts))
        for chosen in product(range(parts), repeat=len(sizes))
    )
    load = np.bincount(owners(sizes, parts), minlength=parts)
    assert load.min() >= 1
    assert load.max() <= (4 / 3 - 1 / (3 * parts)) * best + 1e-9


@settings(deadline=None, max_examples=30)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4), data=st.data())
def test_divided_groups_have_the_smallest_largest_shard(
    sizes: list[int], data: st.DataObject
) -> None:
    """No other numbers of workers by group have a smaller one."""
    parts = data.draw(st.integers(len(sizes), min(sum(sizes), 8)))
    actual = owners(sizes, parts)
    shares = [n for n in product(range(1, parts + 1), repeat=len(sizes)) if sum(n) == parts]
    best = min(max(-(-size // n) for size, n in zip(sizes, ways, strict=True)) for ways in shares)
    assert max(np.bincount(actual)) == best
    if parts > len(sizes):
        assert actual == sorted(actual), "a group is divided in order, and groups in theirs"
    assert set(actual) == set(range(parts))


def test_random_assignment_gives_any_group_to_any_worker() -> None:
    counts = np.zeros((5, 3))
    for seed in range(2000):
        for group, worker in enumerate(owners([1] * 5, 3, "random", seed)):
            counts[group, worker] += 1
    np.testing.assert_allclose(counts, 2000 / 3, atol=106)  # 5 standard deviations of 21.1


def test_a_worker_gets_whole_speakers() -> None:
    groups: NDArray[np.int64] = np.random.default_rng(1).integers(0, 30, 900)
    for assign in ("balanced", "random"):
        samples = Samples(np.zeros(900, int), groups=groups)
        shards = Natural(assign).split(samples, 8, np.random.default_rng(0))
        speakers = [set(groups[shard].tolist()) for shard in shards]
        assert sum(map(len, speakers)) == 30
        assert set().union(*speakers) == set(range(30))
