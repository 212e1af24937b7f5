"""The Dirichlet draw against its distribution, at every alpha, and the cuts."""

from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from partitions.dirichlet import Dirichlet
from partitions.protocol import Samples
from partitions.sizes import cut, shares

EXTREME = (5e-324, 1e-300, 1e-3, 1.0, 1e9, 1e300, 1.7e308)


def owners_of(
    scheme: Dirichlet, labels: NDArray[np.int64], parts: int, seed: int = 0
) -> NDArray[np.int64]:
    return scheme.assign(Samples(labels), parts, np.random.default_rng(seed))[0]


@pytest.mark.parametrize("alpha", [0.05, 0.5, 5.0])
def test_class_shares_have_the_moments_of_the_dirichlet(alpha: float) -> None:
    parts, classes, per_class = 4, 4000, 200
    labels = np.repeat(np.arange(classes), per_class)
    owners = owners_of(Dirichlet(alpha, min_size=0), labels, parts)
    counts = np.bincount(labels * parts + owners, minlength=classes * parts)
    q = counts.reshape(classes, parts) / per_class
    variance = (1 / parts) * (1 - 1 / parts) / (parts * alpha + 1)
    # 5 standard errors of the mean of 4000 draws.
    np.testing.assert_allclose(q.mean(axis=0), 1 / parts, atol=5 * (variance / classes) ** 0.5)
    # The variance of 4 x 4000 draws is known to about 2 %; rounding to 1/200 adds below 0.1 %.
    assert q.var() == pytest.approx(variance, rel=0.1)
    # Later classes follow the same law as earlier ones: nothing balances the workers.
    assert q[: classes // 2].var() == pytest.approx(q[classes // 2 :].var(), rel=0.1)


@pytest.mark.parametrize("alpha", [1e-2, 0.3, 1.0, 40.0])
def test_a_share_follows_the_beta_marginal(alpha: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(2)
    parts, draws = 5, 4000
    q = np.array([shares(alpha, parts, rng) for _ in range(draws)])
    below = np.array([1e-200, 1e-50, 1e-10, 1e-3, 0.05, 0.15, 0.2, 0.25, 0.5, 0.9])
    expected = stats.beta(alpha, (parts - 1) * alpha).cdf(below)
    tolerance = 5 * np.sqrt(expected * (1 - expected) / draws) + 2 / draws  # 5 standard errors
    for worker in range(parts):
        actual = (q[:, worker, np.newaxis] < below).mean(axis=0)
        assert (np.abs(actual - expected) <= tolerance).all()


@pytest.mark.parametrize("parts", [1, 3, 4096])
@pytest.mark.parametrize("alpha", EXTREME)
def test_shares_are_finite_and_sum_to_one_at_any_alpha(alpha: float, parts: int) -> None:
    with np.errstate(invalid="raise", divide="raise", over="raise"):
        q = shares(alpha, parts, np.random.default_rng(0))
    assert q.shape == (parts,)
    assert (q >= 0).all()
    assert q.sum() == pytest.approx(1.0, abs=1e-12)  # 4096 roundings
    if alpha < 1e-200:
        assert q.max() == 1.0
    if alpha >= 1e9:
        np.testing.assert_allclose(q, 1 / parts, rtol=1e-3)  # 30 standard deviations at 1e9


def test_tiny_alpha_chooses_every_worker_alike() -> None:
    rng = np.random.default_rng(4)
    chosen = np.bincount([int(shares(1e-300, 4, rng).argmax()) for _ in range(4000)])
    np.testing.assert_allclose(chosen, 1000, atol=137)  # 5 standard deviations of 27.4


def test_a_zero_from_the_generator_gives_no_nan() -> None:
    class Zeros:
        def standard_gamma(self, shape: float, size: int) -> NDArray[np.float64]:
            return np.zeros(size)

        def standard_exponential(self, size: int) -> NDArray[np.float64]:
            return np.zeros(size)

    zeros = cast(np.random.Generator, Zeros())
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(shares(0.5, 1, zeros), [1.0])


@pytest.mark.parametrize("parts", [1, 7, 4096])
@pytest.mark.parametrize("alpha", EXTREME)
def test_every_sample_is_placed_at_any_alpha(alpha: float, parts: int) -> None:
    labels = np.random.default_rng(0).integers(0, 10, size=5000)
    shards = Dirichlet(alpha).split(Samples(labels), parts, np.random.default_rng(1))
    np.testing.assert_array_equal(np.sort(np.concatenate(shards)), np.arange(5000))
    assert min(shard.size for shard in shards) >= 1


@settings(deadline=None)  # a busy machine is no failure
@given(
    weights=st.lists(st.floats(0, 1), min_size=1, max_size=30).filter(lambda w: sum(w) > 1e-3),
    n=st.integers(0, 10**6),
    seed=st.integers(0, 999),
)
def test_a_cut_is_its_share_rounded_up_or_down(weights: list[float], n: int, seed: int) -> None:
    q = np.array(weights) / sum(weights)
    counts = cut(q, n, np.random.default_rng(seed))
    assert counts.dtype == np.int64
    assert counts.sum() == n
    assert (counts >= 0).all()
    assert (np.abs(counts - q * n) < 1 + 1e-6).all()  # 1e6 samples x a few ulps


def test_an_offset_that_rounds_up_takes_no_extra_sample() -> None:
    class AlmostOne:
        def random(self, size: tuple[int, ...]) -> float:
            return 1.0 - 2.0**-53

    counts = cut(np.array([0.25, 0.75]), 10**6, cast(np.random.Generator, AlmostOne()))
    assert counts.sum() == 10**6


def test_a_class_smaller_than_the_workers_favours_none() -> None:
    rng = np.random.default_rng(0)
    q = np.full(3, 1 / 3)
    total = sum(cut(q, 1, rng) for _ in range(3000))
    np.testing.assert_allclose(total, 1000, atol=130)  # 5 standard deviations of 25.8


def test_small_classes_do_not_all_land_on_the_same_workers() -> None:
    labels = np.repeat(np.arange(10), 20)
    owners = owners_of(Dirichlet(1e9, min_size=0), labels, 64)
    # 10 x 20 of 64 workers at random: 1.6 workers are expected to be left empty.
    assert np.unique(owners).size > 50


def test_samples_of_a_class_are_dealt_at_random() -> None:
    shard = np.flatnonzero(owners_of(Dirichlet(1e9), np.zeros(1000, dtype=np.int64), 2) == 0)
    assert abs(shard.mean() - 499.5) < 46  # 5 standard errors of 9.1


def test_one_sample() -> None:
    shards = Dirichlet().split(Samples(np.array([3])), 1, np.random.default_rng(0))
    assert [shard.tolist() for shard in shards] == [[0]]


@pytest.mark.parametrize("alpha", [-1.0, 0.0, float("nan"), float("inf")])
def test_alpha_outside_its_range_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match=rf"^alpha must be a finite number > 0, got {alpha}$"):
        Dirichlet(alpha)
