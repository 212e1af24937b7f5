"""Feature distances: against scipy on the samples themselves, by hand, and their invariances."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from partitions.skew import LEVELS, directions, distances, mixture, quantiles, spread

Floats = NDArray[np.float64]


def summaries(features: Sequence[Floats], along: Floats) -> Floats:
    """Return the summaries of all workers, (W, Q, P)."""
    return np.array([quantiles(x, along) for x in features])


def sizes_of(features: Sequence[Floats]) -> NDArray[np.int64]:
    return np.array([len(x) for x in features])


def apart(features: Sequence[Floats]) -> Floats:
    return distances(summaries(features, directions(features[0].shape[1])), sizes_of(features))


def draw_workers(seed: int, sizes: Sequence[int], features: int) -> list[Floats]:
    """Draw workers that differ in location, width and shape."""
    rng = np.random.default_rng(seed)
    return [
        rng.normal(2) + rng.uniform(0.2, 2) * rng.random((m, features)) ** rng.integers(1, 4)
        for m in sizes
    ]


@pytest.mark.parametrize("sizes", [(64, 64, 64), (1, 7, 300, 90), (500, 20)], ids=str)
def test_it_equals_the_wasserstein_distance_of_the_samples(sizes: tuple[int, ...]) -> None:
    stats = pytest.importorskip("scipy.stats")
    features = draw_workers(len(sizes), sizes, features=5)
    along = directions(5)
    by_worker, weights = summaries(features, along), sizes_of(features)
    actual = distances(by_worker, weights) * spread(by_worker, weights)
    pooled = np.concatenate(features) @ along
    # Each of three step functions is off by half a level of the range: see the module.
    tolerance = 1.5 * np.ptp(pooled, axis=0).mean() / LEVELS
    for distance, x in zip(actual, features, strict=True):
        lines = zip((x @ along).T, pooled.T, strict=True)
        assert distance == pytest.approx(
            np.mean([stats.wasserstein_distance(one, all_) for one, all_ in lines]), abs=tolerance
        )
    # Steps between 64 levels miss the range outside the first and the last of them.
    expected = np.sqrt(pooled.var(axis=0).mean())
    assert spread(by_worker, weights) == pytest.approx(expected, rel=0.03)


def test_with_a_sample_for_every_level_it_is_exact() -> None:
    """64 samples are their own quantiles; two workers that never overlap have a known mixture."""
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    low, high = rng.random((LEVELS, 1)), 5 + rng.random((LEVELS, 1))
    along = np.ones((1, 1))
    by_worker = summaries([low, high], along)
    np.testing.assert_array_equal(by_worker[0], np.sort(low, axis=0))
    mixed = mixture(by_worker, np.array([LEVELS, LEVELS]))
    # Every second of the 128: the first sample at or above (q + 1/2) / 64.
    both = np.sort(np.concatenate([low, high]), axis=0)
    np.testing.assert_array_equal(mixed, both[::2])
    expected = [stats.wasserstein_distance(x[:, 0], mixed[:, 0]) for x in (low, high)]
    actual = distances(by_worker, np.array([LEVELS, LEVELS]))
    np.testing.assert_allclose(actual * spread(by_worker, np.array([1, 1])), expected)


def test_quantiles_of_few_samples_by_hand() -> None:
    along = np.array([[1.0, -2.0]])
    half = LEVELS // 2
    actual = quantiles(np.array([[3.0], [1.0]], np.float32), along)
    assert actual.dtype == np.float64
    np.testing.assert_array_equal(actual[:, 0], [1.0] * half + [3.0] * half)
    np.testing.assert_array_equal(actual[:, 1], [-6.0] * half + [-2.0] * half)


@pytest.mark.parametrize("size", [1, 5, 64, 128, 384, 1000])
def test_quantiles_are_the_inverse_of_the_distribution_function(size: int) -> None:
    """At 128 and 384 samples a level falls between two of them: it is the lower one."""
    features, along = np.random.default_rng(size).random((size, 3)), directions(3, count=2)
    levels = (np.arange(LEVELS) + 0.5) / LEVELS
    expected = np.quantile(features @ along, levels, axis=0, method="inverted_cdf")
    np.testing.assert_array_equal(quantiles(features, along), expected)


@pytest.mark.parametrize("weight", [1, 3])
def test_a_point_against_a_point_is_known(weight: int) -> None:
    """Points at 0 and 1 with weights w and 1: |x - mixture| / sqrt(p (1 - p)), p = 1 / (w+1).

    One feature, so every direction is the same line.
    """
    features = [np.zeros((16 * weight, 1)), np.ones((16, 1))]
    p = 1 / (weight + 1)
    expected = np.array([p, 1 - p]) / np.sqrt(p * (1 - p))
    np.testing.assert_allclose(apart(features), expected)


@pytest.mark.parametrize("delta", [0.0, 0.5, 1.0, 4.0])
def test_a_shift_is_counted_in_standard_deviations(delta: float) -> None:
    """One sample in 10^9 does not change the mixture and its spread."""
    one = np.sort(np.random.default_rng(1).standard_normal((1, LEVELS, 3)), axis=1)
    most, few = np.array([10**9]), np.array([10**9, 1])
    by_worker = np.concatenate([one, one + delta * spread(one, most)])
    np.testing.assert_allclose(distances(by_worker, few), [0.0, delta], rtol=1e-7)


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 150), min_size=1, max_size=7),
    scale=st.sampled_from([1e-6, 0.5, 1e6]),
    seed=st.integers(0, 999),
)
def test_neither_units_nor_origin_nor_the_order_of_workers_matter(
    sizes: list[int], scale: float, seed: int
) -> None:
    features = draw_workers(seed, sizes, features=3)
    actual = apart(features)
    assert (actual >= 0).all()
    order = np.random.default_rng(seed).permutation(len(sizes))
    # Only the order of the sum in the spread differs: the mixture is the same bit for bit.
    np.testing.assert_allclose(apart([features[k] for k in order]), actual[order], rtol=1e-12)
    origin = np.array([1.0, -2.0, 7.0])
    # Shifted samples are rounded at some 1e-16 of the origin, which is near their spread.
    moved = apart([scale * (x + origin) for x in features])
    np.testing.assert_allclose(moved, actual, rtol=1e-9, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(workers=st.integers(1, 9), size=st.integers(1, 90), repeats=st.integers(1, 3))
def test_equal_shards_are_at_no_distance(workers: int, size: int, repeats: int) -> None:
    x = np.random.default_rng(size).standard_normal((size, 4))
    features = [np.tile(x, (repeats if k == 0 else 1, 1)) for k in range(workers)]
    # Products of matrices of other shapes may round differently.
    np.testing.assert_allclose(apart(features), np.zeros(workers), atol=1e-12)


@pytest.mark.parametrize("features", [1, 784, 3072])
def test_constant_features_are_at_no_distance(features: int) -> None:
    """Also if the product of a larger matrix rounds the same sum differently."""
    row = np.random.default_rng(0).random(features)
    with np.errstate(all="raise"):
        actual = apart([np.tile(row, (m, 1)) for m in (1, 3, 16, 37)])
    np.testing.assert_array_equal(actual, np.zeros(4))
    np.testing.assert_array_equal(apart([np.zeros((2, features))] * 2), [0, 0])


def test_an_empty_shard_has_no_distance_and_no_weight() -> None:
    features = [*draw_workers(3, (30, 40), features=2), np.empty((0, 2))]
    with np.errstate(all="raise"):
        actual = apart(features)
    np.testing.assert_array_equal(actual[:2], apart(features[:2]))
    assert np.isnan(actual[2])
    assert np.isnan(apart([np.empty((0, 2))] * 2)).all()


def test_directions_are_of_unit_length_and_the_same_on_every_rank() -> None:
    along = directions(20, count=7)
    assert along.shape == (20, 7)
    np.testing.assert_allclose(np.linalg.norm(along, axis=0), 1.0)
    np.testing.assert_array_equal(along, directions(20, count=7))
    assert np.linalg.matrix_rank(along) == 7
