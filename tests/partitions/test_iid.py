"""Uniform shards: even sizes, uniform membership, and the overlapping draw."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from partitions.iid import IID
from partitions.protocol import Samples


def split(size: int, n: int, parts: int, seed: int = 0) -> list[NDArray[np.int64]]:
    samples = Samples(np.zeros(n, dtype=np.int64))
    return IID(size).split(samples, parts, np.random.default_rng(seed))


@settings(deadline=None)  # a busy machine is no failure
@given(n=st.integers(1, 300), parts=st.integers(1, 300))
def test_disjoint_sizes_differ_by_at_most_one(n: int, parts: int) -> None:
    parts = min(parts, n)
    sizes = [shard.size for shard in split(0, n, parts)]
    assert sum(sizes) == n
    assert max(sizes) - min(sizes) <= 1


def test_disjoint_membership_is_uniform() -> None:
    counts = np.zeros(40)
    for seed in range(2000):
        counts[split(0, 40, 4, seed)[0]] += 1
    # Binomial(2000, 1/4) has standard deviation 19.4; 5 of them.
    np.testing.assert_allclose(counts, 500, atol=97)


@settings(deadline=None)  # a busy machine is no failure
@given(n=st.integers(1, 200), parts=st.integers(1, 50), data=st.data())
def test_separate_draws_are_ascending_without_repeats(
    n: int, parts: int, data: st.DataObject
) -> None:
    size = data.draw(st.integers(1, n))
    shards = split(size, n, parts, seed=data.draw(st.integers(0, 999)))
    assert len(shards) == parts
    for shard in shards:
        assert shard.dtype == np.int64
        assert shard.shape == (size,)
        assert (np.diff(shard) > 0).all()
        assert 0 <= shard[0] <= shard[-1] < n


def test_thousands_of_workers_share_few_samples_evenly() -> None:
    n, parts, size = 1437, 4096, 64
    shards = split(size, n, parts)
    counts = np.bincount(np.concatenate(shards), minlength=n)
    # Binomial(4096, 64/1437): mean 182.4, standard deviation 13.2; 6 of them over 1437 samples.
    np.testing.assert_allclose(counts, parts * size / n, atol=79)
    assert len({shard.tobytes() for shard in shards}) == parts


def test_a_draw_from_a_million_samples_reaches_all_of_them() -> None:
    drawn = np.concatenate(split(64, 10**6, 4096))
    # Uniform on [0, 1e6): the mean of 262,144 draws has standard error 564; 5 of them.
    assert abs(drawn.mean() - 499_999.5) < 2820
    assert drawn.min() < 100
    assert drawn.max() > 999_900


def test_size_n_gives_every_worker_everything() -> None:
    for shard in split(9, 9, 30):
        np.testing.assert_array_equal(shard, np.arange(9))


def test_one_sample() -> None:
    assert [shard.tolist() for shard in split(0, 1, 1)] == [[0]]
    assert [shard.tolist() for shard in split(1, 1, 3)] == [[0], [0], [0]]


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"^size must be >= 0, got -1$"):
        IID(-1)
    with pytest.raises(ValueError, match=r"^size must be at most the number of samples, 10, got"):
        split(11, 10, 2)
    with pytest.raises(ValueError, match="4096 workers") as error:
        split(0, 1437, 4096)
    assert str(error.value) == (
        "4096 workers but 1437 samples: a disjoint split leaves workers empty; "
        "iid:size=64 lets every worker draw its own 64 samples"
    )
