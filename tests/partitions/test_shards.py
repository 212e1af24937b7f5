"""Shards of the data sorted by label: runs, their sizes, and the deal."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from partitions.protocol import Samples
from partitions.shards import Shards


def split(
    per_worker: int, labels: NDArray[np.int64], parts: int, seed: int = 0
) -> list[NDArray[np.int64]]:
    return Shards(per_worker).split(Samples(labels), parts, np.random.default_rng(seed))


@settings(deadline=None)  # a busy machine is no failure
@given(
    labels=st.lists(st.integers(0, 9), min_size=1, max_size=200),
    parts=st.integers(1, 20),
    per_worker=st.integers(1, 5),
    seed=st.integers(0, 999),
)
def test_a_worker_holds_whole_runs_of_the_sorted_data(
    labels: list[int], parts: int, per_worker: int, seed: int
) -> None:
    n, runs = len(labels), parts * per_worker
    if runs > n:
        labels = [label for label in labels for _ in range(runs)]
        n = len(labels)
    # Python's sort is the second way of computing the order.
    in_order = sorted(range(n), key=lambda i: (labels[i], i))
    expected = {frozenset(run.tolist()) for run in np.array_split(np.array(in_order), runs)}
    left = set(expected)
    for shard in split(per_worker, np.array(labels), parts, seed):
        whole = {run for run in left if run <= set(shard.tolist())}
        assert len(whole) == per_worker
        assert sum(len(run) for run in whole) == shard.size
        left -= whole
    assert not left


def test_the_papers_shape() -> None:
    # 60,000 samples, 100 clients, 200 shards of 300: scaled down by 100 in n, by 10 in clients.
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(10), 60))
    shards = split(2, labels, 10)
    assert [shard.size for shard in shards] == [60] * 10
    assert all(np.unique(labels[shard]).size <= 2 for shard in shards)


def test_no_remainder_is_dropped() -> None:
    labels = np.zeros(23, dtype=np.int64)
    shards = split(2, labels, 5)
    np.testing.assert_array_equal(np.sort(np.concatenate(shards)), np.arange(23))
    assert {shard.size for shard in shards} <= {4, 5, 6}


def test_every_worker_may_be_dealt_any_shard() -> None:
    labels = np.arange(8)
    holder, together = np.zeros((4, 8)), np.zeros((8, 8))
    for seed in range(2000):
        for worker, shard in enumerate(split(2, labels, 4, seed)):
            holder[worker, shard] += 1
            together[shard[0], shard[1]] += 1
    # Binomial(2000, 1/4) has standard deviation 19.4, Binomial(2000, 1/7) 15.6; 5 of them.
    np.testing.assert_allclose(holder, 500, atol=97)
    np.testing.assert_allclose(together[np.triu_indices(8, k=1)], 2000 / 7, atol=78)


def test_refusals() -> None:
    labels = np.zeros(10, dtype=np.int64)
    with pytest.raises(ValueError, match=r"^per_worker must be >= 1, got 0$"):
        Shards(0)
    with pytest.raises(ValueError, match=r"shards:per_worker=2 fits$"):
        split(3, labels, 4)
    assert len(split(2, labels, 4)) == 4  # the way out in the message
    with pytest.raises(ValueError, match="11 workers") as error:
        split(2, labels, 11)
    assert str(error.value) == (
        "11 workers x per_worker 2 need 22 shards, but there are 10 samples: a shard would be "
        "empty; iid:size=10 lets every worker draw its own 10 samples"
    )
