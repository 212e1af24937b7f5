"""Rule of the Dirichlet scheme for small shards: givers, takers, and the number of moves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partitions.dirichlet import Dirichlet
from partitions.protocol import Samples
from partitions.sizes import gifts_of_largest


@settings(deadline=None)  # a busy machine is no failure
@given(data=st.data(), sizes=st.lists(st.integers(0, 40), min_size=1, max_size=30))
def test_taking_from_the_largest_equals_taking_one_by_one(
    data: st.DataObject, sizes: list[int]
) -> None:
    moves = data.draw(st.integers(0, sum(sizes)))
    left = list(sizes)
    for _ in range(moves):
        left[left.index(max(left))] -= 1
    gives = gifts_of_largest(np.array(sizes), moves)
    np.testing.assert_array_equal(np.array(sizes) - gives, left)


@settings(deadline=None)  # a busy machine is no failure
@given(
    labels=st.lists(st.integers(0, 5), min_size=1, max_size=150),
    parts=st.integers(1, 30),
    min_size=st.integers(0, 10),
    seed=st.integers(0, 999),
)
def test_min_size_moves_only_the_missing_samples(
    labels: list[int], parts: int, min_size: int, seed: int
) -> None:
    min_size = min(min_size, len(labels) // parts)
    samples = Samples(np.array(labels))
    drawn, none = Dirichlet(0.1, 0).assign(samples, parts, np.random.default_rng(seed))
    owners, moved = Dirichlet(0.1, min_size).assign(samples, parts, np.random.default_rng(seed))
    before = np.bincount(drawn, minlength=parts)
    after = np.bincount(owners, minlength=parts)
    short = before < min_size
    assert none == 0
    assert moved == (min_size - before)[short].sum() == (owners != drawn).sum()
    assert (after >= min_size).all()
    assert (after[short] == min_size).all()
    assert (after[~short] <= before[~short]).all()


def test_the_samples_moved_are_random() -> None:
    labels = np.zeros(1000, dtype=np.int64)
    owners, moved = Dirichlet(1e-300, 500).assign(Samples(labels), 2, np.random.default_rng(0))
    assert moved == 500
    assert abs(np.flatnonzero(owners == 0).mean() - 499.5) < 46  # 5 standard errors of 9.1


def test_an_empty_worker_takes_from_all_givers() -> None:
    # Two workers have one class each; the two empty ones get half of each, dealt at random.
    labels = np.repeat([0, 1], 400)
    samples = Samples(labels)
    for seed in range(99):
        owners, moved = Dirichlet(1e-300, 200).assign(samples, 4, np.random.default_rng(seed))
        if moved == 400:  # two empty workers, so two givers; 600 were moved from a single one
            break
    holders = [np.bincount(labels[owners == worker], minlength=2) for worker in range(4)]
    assert sorted(int(counts.min() > 60) for counts in holders) == [0, 0, 1, 1]


@pytest.mark.parametrize("min_size", [1, 200])
def test_a_million_samples_on_thousands_of_workers(min_size: int) -> None:
    labels = np.random.default_rng(0).integers(0, 10, size=10**6)
    scheme = Dirichlet(1e-3, min_size)
    owners, moved = scheme.assign(Samples(labels), 4096, np.random.default_rng(0))
    assert np.bincount(owners, minlength=4096).min() == min_size
    assert moved > 3500 * min_size


def test_min_size_zero_leaves_workers_empty() -> None:
    samples = Samples(np.array([2, 2, 5]))
    shards = Dirichlet(0.5, min_size=0).split(samples, 50, np.random.default_rng(0))
    assert len(shards) == 50
    np.testing.assert_array_equal(np.sort(np.concatenate(shards)), [0, 1, 2])


def test_min_size_out_of_reach_is_refused_with_the_way_out() -> None:
    with pytest.raises(ValueError, match=r"^min_size must be >= 0, got -1$"):
        Dirichlet(0.5, -1)
    samples = Samples(np.zeros(100, dtype=np.int64))
    with pytest.raises(ValueError, match="min_size 21") as error:
        Dirichlet(0.5, 21).split(samples, 5, np.random.default_rng(0))
    assert str(error.value) == (
        "5 workers x min_size 21 need 105, but there are 100 samples: dirichlet:min_size=0 "
        "allows empty shards, iid:size=64 lets every worker draw its own 64 samples"
    )
    sizes = [s.size for s in Dirichlet(0.5, 20).split(samples, 5, np.random.default_rng(0))]
    assert sizes == [20] * 5
