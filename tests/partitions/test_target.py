"""A skew that was asked for is there, at any number of workers."""

import numpy as np
import pytest

from partitions.protocol import Samples
from partitions.skew import measure
from partitions.target import ALPHAS, Target, label_shares

BALANCED = np.random.default_rng(0).permutation(np.arange(8000) % 10)
UNEVEN = np.random.default_rng(1).choice(7, 3000, p=[0.4, 0.2, 0.15, 0.1, 0.08, 0.05, 0.02])


@pytest.mark.parametrize("labels", [BALANCED, UNEVEN], ids=["balanced", "uneven"])
@pytest.mark.parametrize("js", [0.05, 0.2, 0.4, 0.6])
def test_the_skew_is_the_one_asked_for_and_sizes_are_equal(labels: np.ndarray, js: float) -> None:
    for parts in (2, 3, 7, 10, 16, 31, 64, 101):
        shards = Target(js=js).split(Samples(labels), parts, np.random.default_rng(parts))
        skew = measure(labels, shards)
        assert skew.label_js == pytest.approx(js, abs=0.02), parts
        assert skew.sizes.max() - skew.sizes.min() <= 1


def test_a_finer_tolerance_is_kept() -> None:
    shards = Target(js=0.5, tolerance=0.002).split(Samples(BALANCED), 16, np.random.default_rng(0))
    assert measure(BALANCED, shards).label_js == pytest.approx(0.5, abs=0.002)


def test_label_shares_follow_the_dirichlet_distribution() -> None:
    """Mean 1 / C and variance (C - 1) / (C^2 (C alpha + 1)) of Dir_C(alpha)."""
    draws = np.random.default_rng(0).random((2, 20_000, 5))
    for alpha in (0.1, 1.0, 10.0):
        shares = label_shares(alpha, draws)
        np.testing.assert_allclose(shares.sum(1), 1)
        np.testing.assert_allclose(shares.mean(0), 0.2, atol=0.02)  # 6 standard errors
        wanted = 4 / (25 * (5 * alpha + 1))
        np.testing.assert_allclose(shares.var(0), wanted, rtol=0.08)


def test_a_smaller_alpha_is_more_skewed_with_the_same_draws() -> None:
    draws = np.random.default_rng(2).random((2, 9, 6))
    largest = [label_shares(alpha, draws).max(1).mean() for alpha in (*ALPHAS, 1.0)]
    assert largest[0] > largest[2] > largest[1]


@pytest.mark.parametrize(
    ("labels", "parts"), [(BALANCED, 1), (np.zeros(50, int), 4), (BALANCED[:40], 20)]
)
def test_what_cannot_be_had_is_refused_with_what_can(labels: np.ndarray, parts: int) -> None:
    with pytest.raises(ValueError, match=r"js=0\.1 cannot be had by .* between \d\.\d+ and \d\."):
        Target(js=0.1).split(Samples(labels), parts, np.random.default_rng(0))


@pytest.mark.parametrize("js", [-0.1, 1.1, float("nan")])
def test_refuses_what_is_no_skew(js: float) -> None:
    with pytest.raises(ValueError, match=r"js must be in \[0, 1\]"):
        Target(js=js)
