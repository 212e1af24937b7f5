"""Dirichlet labels in shards of equal sizes, and in shards of the sizes of a law."""

import numpy as np
import pytest
from numpy.typing import NDArray

from partitions.dirichlet_worker import DirichletWorker, Mixed
from partitions.protocol import Partition, Samples
from partitions.sizes import LAWS, amounts
from partitions.skew import Skew, measure

UNEVEN = np.random.default_rng(0).choice(12, 3001, p=np.arange(1, 13) / 78)


def skew_of(scheme: Partition, labels: NDArray[np.int64], parts: int, seed: int = 0) -> Skew:
    return measure(labels, scheme.split(Samples(labels), parts, np.random.default_rng(seed)))


def test_label_shares_are_dirichlet_with_many_workers() -> None:
    """With many workers and balanced classes the columns hardly change the draw.

    The shares of a class have mean 1 / C and the variance (C - 1) / (C^2 (C alpha + 1)) of
    Dir_C(alpha).
    """
    labels = np.repeat(np.arange(5), 40_000)
    for alpha in (0.3, 3.0):
        share = skew_of(DirichletWorker(alpha), labels, 1000).counts / 200
        np.testing.assert_allclose(share.mean(axis=0), 0.2)
        # 1,000 workers give a variance to 5 to 10 %; the fit and whole samples add 1 %.
        expected = 4 / (25 * (5 * alpha + 1))
        np.testing.assert_allclose(share.var(axis=0), expected, rtol=0.25)


def test_sizes_are_equal_and_skew_falls_with_alpha() -> None:
    skews = []
    for alpha in (1e-4, 0.01, 0.1, 1, 10, 1e6):
        skew = skew_of(DirichletWorker(alpha), UNEVEN, 13, seed=5)
        assert np.ptp(skew.sizes) <= 1
        skews.append(skew.label_js)
    assert skews == sorted(skews, reverse=True)
    assert skews[0] > 0.75
    assert skews[-1] < 0.01


@pytest.mark.parametrize("alpha", [5e-324, 1e-9, 1e308])
def test_alpha_at_the_ends_is_as_skewed_and_as_even_as_margins_allow(alpha: float) -> None:
    """Two classes of 100, four workers of 50: a class for two workers each, or halves."""
    labels = np.repeat([3, 8], 100)
    counts = skew_of(DirichletWorker(alpha), labels, 4).counts[:, [3, 8]]
    assert sorted(counts[:, 0].tolist()) == ([25] * 4 if alpha > 1 else [0, 0, 50, 50])


@pytest.mark.parametrize("law", LAWS)
def test_mixed_keeps_the_sizes_of_its_law_for_any_labels(law: str) -> None:
    skews = []
    for alpha in (0.1, 100.0):
        skew = skew_of(Mixed(alpha=alpha, law=law, min_size=3), UNEVEN, 8)
        expected = amounts(law, 0, 3001, 8, 3, np.random.default_rng(0))
        np.testing.assert_array_equal(skew.sizes, expected)
        skews.append(skew.label_js)
    assert skews[0] > 4 * skews[1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DirichletWorker(0), "alpha must be a finite number > 0, got 0"),
        (lambda: DirichletWorker(float("inf")), "alpha must be a finite number > 0, got inf"),
        (lambda: Mixed(alpha=float("nan")), "alpha must be a finite number > 0, got nan"),
        (lambda: Mixed(law="cubic"), "law must be one of dirichlet, log_normal"),
        (lambda: Mixed(law="linear", parameter=1.0), "law linear has no parameter"),
        (lambda: Mixed(min_size=0), "min_size must be >= 1, got 0"),
        (
            lambda: skew_of(Mixed(min_size=400), UNEVEN, 8),
            "8 workers x min_size 400 need 3200, but there are 3001 samples",
        ),
    ],
)
def test_refusals(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
