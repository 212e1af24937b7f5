"""Minibatches: every epoch is a permutation, on any rank and from any step."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.runtime.batches import INDICES_AHEAD, Batches, shuffled


def orders(n: int, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the order of [0, n) under every key, (keys, n)."""
    position = np.broadcast_to(np.arange(n), (len(keys), n))
    return shuffled(
        position, np.full_like(position, n), np.broadcast_to(keys[:, None], (len(keys), n))
    )


def shards_of(sizes: list[int]) -> list[NDArray[np.int64]]:
    """Return disjoint shards of scattered sample indices."""
    scattered = np.random.default_rng(8).permutation(10 * sum(sizes))[: sum(sizes)]
    return np.split(scattered, np.cumsum(sizes)[:-1])


@pytest.mark.parametrize("n", [*range(1, 71), 127, 128, 129, 1437, 4096, 4097, 65_537])
def test_every_key_gives_a_permutation(n: int) -> None:
    keys = np.arange(3 if n > 100 else 200, dtype=np.uint64) * np.uint64(0xD1342543DE82EF95)
    permutations = orders(n, keys)
    assert permutations.dtype == np.int64
    np.testing.assert_array_equal(
        np.sort(permutations, axis=1), np.broadcast_to(np.arange(n), permutations.shape)
    )


@pytest.mark.parametrize("n", [2**31 + 1, 2**48 + 1, 2**49 + 1, 2**53 + 1, 2**61 + 1, 2**62 - 1])
def test_large_permutations_have_no_collisions(n: int) -> None:
    position = np.array([0, 1, 2, n // 2, n - 3, n - 2, n - 1])
    for key in range(20):
        keys = np.full(position.shape, key, np.uint64)
        images = shuffled(position, np.full_like(position, n), keys)
        assert len(set(images.tolist())) == len(position)
        assert 0 <= images.min() <= images.max() < n


def image(position: int, n: int, key: int) -> int:
    """Return the image of a position by the definition, in whole numbers of any length."""
    mask = (1 << max(1, (n - 1).bit_length())) - 1
    x, outside = position, True
    while outside:
        k = key
        for _ in range(12):
            k = (k + 0x9E3779B97F4A7C15) % 2**64
            k = (k ^ (k >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
            k = (k ^ (k >> 27)) * 0x94D049BB133111EB % 2**64
            k ^= k >> 31
            x = ((x ^ (k >> 32)) & mask) * (k | 1) & mask
            x ^= x >> max(1, mask.bit_length() // 2)
        outside = x >= n
    return x


@pytest.mark.parametrize("n", [1, 2, 3, 37, 64, 1437, 2**31 + 1, 2**32, 2**32 + 1, 2**53 + 1])
def test_images_are_those_of_the_definition(n: int) -> None:
    position = np.array([[0, n // 3, n // 2, n - 1]])
    keys = np.random.default_rng(1).integers(0, 2**64, (5, 3), np.uint64)
    turn = np.array([0, 1, 1, 2])
    expected = [
        [image(j, n, key[i]) for i, j in zip(turn, position[0].tolist(), strict=True)]
        for key in keys.tolist()
    ]
    size = np.array([[n]])
    assert shuffled(position, size, keys[:, turn]).tolist() == expected
    assert shuffled(position, size, keys, turn).tolist() == expected


@pytest.mark.parametrize("n", [4, 5, 6])
def test_all_orders_are_equally_likely(n: int) -> None:
    keys = 60_000
    frequency = dict.fromkeys(itertools.permutations(range(n)), 0)
    for order in orders(n, np.arange(keys, dtype=np.uint64)).tolist():
        frequency[tuple(order)] += 1
    expected, freedom = keys / len(frequency), len(frequency) - 1
    chi_square = sum((count - expected) ** 2 / expected for count in frequency.values())
    assert abs(chi_square - freedom) < 5 * np.sqrt(2 * freedom)  # 5 standard deviations


@pytest.mark.parametrize("n", [8, 37, 64])
def test_every_place_is_equally_likely_for_every_position(n: int) -> None:
    permutations = orders(n, np.arange(400 * n, dtype=np.uint64))
    frequency = np.stack([np.bincount(column, minlength=n) for column in permutations.T])
    chi_square = ((frequency - 400) ** 2 / 400).sum()
    freedom = (n - 1) ** 2
    assert abs(chi_square - freedom) < 6 * np.sqrt(2 * freedom)


def test_consecutive_epochs_are_independent() -> None:
    n = 16
    batches = Batches([np.arange(n)], range(1), batch=n, seed=0)
    epochs = batches.at(0, 4001)[:, 0]
    positions = np.argsort(epochs, axis=1)
    same = (positions[1:] == positions[:-1]).sum(1)  # fixed points: mean 1, variance 1
    assert abs(same.mean() - 1) < 5 / np.sqrt(len(same))


@settings(deadline=None)  # independent of the load of the machine
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    batch=st.integers(1, 60),
    seed=st.integers(0, 2**63),
)
def test_every_epoch_visits_every_sample_once(sizes: list[int], batch: int, seed: int) -> None:
    shards = shards_of(sizes)
    batches = Batches(shards, range(len(sizes)), batch, seed)
    steps = -(-3 * max(sizes) // batch)
    drawn = batches.at(0, steps)
    assert drawn.shape == (steps, len(sizes), batch)
    for worker, shard in enumerate(shards):
        visits = drawn[:, worker].ravel()
        for a in range(0, len(visits) - len(shard) + 1, len(shard)):
            np.testing.assert_array_equal(np.sort(visits[a : a + len(shard)]), np.sort(shard))


def test_a_batch_larger_than_the_shard_repeats_samples() -> None:
    (drawn,) = Batches([np.array([7, 9, 4])], range(1), batch=7, seed=3).next()
    assert sorted(np.bincount(drawn, minlength=10)[[4, 7, 9]].tolist()) == [2, 2, 3]


def test_batches_depend_on_seed_worker_and_step_alone() -> None:
    shards = shards_of([5, 11, 3, 20, 7])
    whole = Batches(shards, range(5), 4, seed=42).at(0, 30)
    for ids in (range(1), range(1, 3), range(3, 5), range(4, 5)):
        part = Batches(shards, ids, 4, seed=42)
        np.testing.assert_array_equal(part.at(0, 30), whole[:, ids.start : ids.stop])
        np.testing.assert_array_equal(part.at(17, 5), whole[17:22, ids.start : ids.stop])
    again = Batches([shard.copy() for shard in shards], range(5), 4, seed=42)
    again.at(100, 7)
    np.testing.assert_array_equal(again.at(0, 30), whole)


def test_next_equals_at_and_resumes_at_any_step() -> None:
    shards = shards_of([9, 2])
    batch = INDICES_AHEAD // 10  # draws 5 steps at once
    expected_rows = Batches(shards, range(2), batch, seed=5)
    for k in range(13):
        np.testing.assert_array_equal(expected_rows.next(), expected_rows.at(k, 1)[0])
    resumed = Batches(shards, range(2), batch, seed=5, step=13)
    np.testing.assert_array_equal(resumed.next(), expected_rows.next())


def test_a_batch_above_the_lookahead_draws_one_step() -> None:
    batches = Batches([np.arange(3)], range(1), INDICES_AHEAD + 1, seed=0)
    assert batches.next().shape == (1, INDICES_AHEAD + 1)
    np.testing.assert_array_equal(batches.next(), batches.at(1, 1)[0])


def test_seeds_workers_and_epochs_differ() -> None:
    shard = np.arange(1000)
    shards = [shard] * 4
    first = Batches(shards, range(4), 1000, seed=0).at(0, 5)
    other = Batches(shards, range(4), 1000, seed=1).at(0, 5)
    rows = np.concatenate([first, other]).reshape(-1, 1000)
    assert len({row.tobytes() for row in rows}) == 40
    agree = (rows[:, None] == rows).mean(2)[~np.eye(40, dtype=bool)]
    assert agree.max() < 0.02  # independent orders agree at one place in a thousand


def test_an_empty_shard_is_refused_by_its_worker() -> None:
    shards = [np.arange(3), np.arange(2), np.arange(0), np.arange(4)]
    with pytest.raises(ValueError, match=r"^worker 2 has no samples$"):
        Batches(shards, range(1, 4), 2, seed=0)
    assert Batches(shards, range(3, 4), 2, seed=0).next().shape == (1, 2)
