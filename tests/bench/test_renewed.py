"""Minibatches over renewed splits: ownership, time of renewal, and agreement of the ranks."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.runtime.batches import Batches, RenewedBatches, steps_between
from partitions.iid import IID
from partitions.protocol import Samples

N, WORKERS, BATCH, SEED = 61, 4, 5, 9
EVERY = steps_between(1, N, WORKERS, BATCH)

Rows = NDArray[np.int64]


def split(turn: int) -> list[Rows]:
    """Return even shards that differ in every turn."""
    samples = Samples(np.zeros(N, np.int64))
    return IID().split(samples, WORKERS, np.random.default_rng((3, turn)))


def renewed(ids: range = range(WORKERS), every: int = EVERY) -> RenewedBatches:
    return RenewedBatches(split, ids, BATCH, SEED, every)


def walked(batches: Batches | RenewedBatches, steps: int) -> Rows:
    """Return the sample indices of the next steps, (steps, V, b)."""
    return np.array([batches.next() for _ in range(steps)])


@pytest.mark.parametrize("every", [1, 3, EVERY, 50])
def test_the_first_turn_equals_fixed_shards(every: int) -> None:
    plain = Batches(split(0), range(WORKERS), BATCH, SEED)
    expected = walked(plain, every + 1)
    drawn_rows = walked(renewed(every=every), every + 1)
    np.testing.assert_array_equal(drawn_rows[:-1], expected[:-1])
    assert not np.array_equal(drawn_rows[-1], expected[-1])


def test_every_turn_visits_each_sample_by_its_owner() -> None:
    turns = walked(renewed(), 4 * EVERY).reshape(4, EVERY, WORKERS, BATCH)
    for turn, rows in enumerate(turns):
        for worker, shard in enumerate(split(turn)):
            np.testing.assert_array_equal(np.unique(rows[:, worker]), shard)
    # Every worker starts a turn at the beginning of an order, and 4 steps of 5 pass its 15 or 16
    # samples once and begin to repeat them.
    counts = np.bincount(turns[1].ravel(), minlength=N)
    assert counts.min() == 1
    assert counts.max() <= 2


def test_eventually_every_worker_sees_every_sample() -> None:
    turns = 40  # a sample is missed by a worker with probability (3 / 4)^40, 244 pairs: 0.002
    rows = walked(renewed(), turns * EVERY)
    for worker in range(WORKERS):
        np.testing.assert_array_equal(np.unique(rows[:, worker]), np.arange(N))


def test_a_fixed_shard_is_walked_in_a_new_order_each_turn() -> None:
    shards = split(0)
    batches = RenewedBatches(lambda _: shards, range(WORKERS), BATCH, SEED, EVERY)
    turns = walked(batches, 5 * EVERY).reshape(5, -1)
    assert len({turn.tobytes() for turn in turns}) == 5


@settings(deadline=None, max_examples=30)
@given(
    cuts=st.lists(st.integers(0, WORKERS), max_size=3),
    every=st.integers(1, 9),
    steps=st.integers(1, 30),
)
def test_ranks_that_share_the_workers_draw_the_same_rows(
    cuts: list[int], every: int, steps: int
) -> None:
    whole = walked(renewed(every=every), steps)
    bounds = sorted({0, WORKERS, *cuts})
    for lo, hi in itertools.pairwise(bounds):
        own_rows = walked(renewed(range(lo, hi), every), steps)
        np.testing.assert_array_equal(own_rows, whole[:, lo:hi])


def test_each_split_is_drawn_once_and_on_demand() -> None:
    requested_turns = []

    def recording_split(turn: int) -> list[Rows]:
        requested_turns.append(turn)
        return split(turn)

    batches = RenewedBatches(recording_split, range(WORKERS), BATCH, SEED, every=3)
    for steps, known in ((3, [0]), (1, [0, 1]), (2, [0, 1]), (4, [0, 1, 2, 3])):
        walked(batches, steps)
        assert requested_turns == known


def test_an_empty_shard_is_refused_in_the_turn_that_has_it() -> None:
    def emptier(turn: int) -> list[Rows]:
        return [np.arange(4), np.arange(4 - 2 * turn)]

    batches = RenewedBatches(emptier, range(2), BATCH, SEED, every=2)
    walked(batches, 4)
    with pytest.raises(ValueError, match=r"^worker 1 has no samples$"):
        batches.next()


@pytest.mark.parametrize("ahead", [1, 2, 7, 2**16])
def test_minibatches_do_not_depend_on_drawing_ahead(ahead: int) -> None:
    expected = Batches(split(0), range(WORKERS), BATCH, SEED).at(0, 10)
    drawn_rows = walked(Batches(split(0), range(WORKERS), BATCH, SEED, ahead=ahead), 10)
    np.testing.assert_array_equal(drawn_rows, expected)


@settings(deadline=None, max_examples=40)
@given(
    part=st.fractions(min_value="1/1000", max_value=50, max_denominator=1000),
    n=st.integers(1, 10**6),
    workers=st.integers(1, 4096),
    batch=st.integers(1, 1024),
)
def test_steps_are_the_first_after_which_all_have_passed(
    part: Fraction, n: int, workers: int, batch: int
) -> None:
    steps = steps_between(float(part), n, workers, batch)
    expected_steps, visited = part * n, workers * batch
    assert steps >= 1
    assert steps * visited >= expected_steps
    assert steps == 1 or (steps - 1) * visited < expected_steps


@pytest.mark.parametrize("hundredths", [7, 14, 28, 55, 57, 58])
def test_decimal_parts_of_an_epoch_are_meant_as_they_are_written(hundredths: int) -> None:
    assert steps_between(hundredths / 100, 100, 1, 1) == hundredths


def test_no_number_of_epochs_is_too_large_or_too_small() -> None:
    assert steps_between(1e308, 1437, 16, 16) > 10**300
    assert steps_between(1e-300, 1437, 16, 16) == 1
