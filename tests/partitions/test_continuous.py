"""The number to sort by, and the effect of the strength."""

import numpy as np
import pytest
from numpy.typing import NDArray

from partitions.continuous import FITTED, Continuous, first_component
from partitions.protocol import Needs, Samples
from partitions.shards import Sorted

LABELS = np.random.default_rng(0).integers(0, 10, 600)


def split(scheme: Continuous, samples: Samples, parts: int = 8) -> list[NDArray[np.int64]]:
    return scheme.split(samples, parts, np.random.default_rng(1))


@pytest.mark.parametrize(("n", "width"), [(500, 6), (40, 300), (1, 4), (3 * FITTED + 1, 5)])
def test_the_first_component_is_that_of_a_singular_value_decomposition(n: int, width: int) -> None:
    rng = np.random.default_rng(n)
    scales = np.linspace(1, 4, width)
    features = rng.standard_normal((n, width)) * scales + 7
    some = features if n <= FITTED else features[::4]
    expected = np.linalg.svd(some - some.mean(axis=0), full_matrices=False)[2][0]
    actual = first_component(features)
    if n == 1:
        assert np.isfinite(actual).all()
        return
    assert actual[np.abs(actual).argmax()] > 0
    assert abs(actual @ expected) / np.linalg.norm(actual) == pytest.approx(1, abs=1e-9)


def test_only_the_order_of_the_number_counts() -> None:
    """Outliers and units have no effect: exp and an offset keep the ranks."""
    features = np.random.default_rng(3).standard_normal((600, 2))
    scheme = Continuous(strength=0.6, by="column", column=1)
    plain = split(scheme, Samples(LABELS, features))
    for changed in (np.exp(5 * features), features * 1e6 - 3, features.astype(np.longdouble)):
        for a, b in zip(plain, split(scheme, Samples(LABELS, changed)), strict=True):
            np.testing.assert_array_equal(a, b)


def test_full_strength_by_label_has_the_labels_of_sorted() -> None:
    shards = split(Continuous(strength=1), Samples(LABELS))
    runs = Sorted().split(Samples(LABELS), 8, np.random.default_rng(0))
    for shard, run in zip(shards, runs, strict=True):
        np.testing.assert_array_equal(np.sort(LABELS[shard]), np.sort(LABELS[run]))


def test_at_half_strength_ranks_are_those_of_the_sum_of_two_uniforms() -> None:
    """At strength 1/2, b has a triangular distribution and the correlation 1 / sqrt(2) with z."""
    n = 40_000
    shards = split(Continuous(strength=0.5, by="index"), Samples(np.zeros(n, int)), parts=200)
    run = np.empty(n)
    for k, shard in enumerate(shards):
        run[shard] = k
    below = (run + 0.5) / 200
    b = np.where(below < 0.5, np.sqrt(below / 2), 1 - np.sqrt((1 - below) / 2))  # its quantiles
    # A standard error of 0.005 / 2 or less; the spread within 200 runs is far smaller.
    assert np.corrcoef(b, np.arange(n))[0, 1] == pytest.approx(0.5**0.5, abs=0.015)


def test_equal_numbers_are_in_random_order() -> None:
    samples = Samples(LABELS, np.full((600, 3), 2))
    for by in ("component", "norm", "mean"):
        shard = split(Continuous(strength=1, by=by), samples, 2)[0]
        assert abs(shard.mean() - 299.5) < 35  # 5 standard errors of 7.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": 1.5}, r"strength must be in \[0, 1\], got 1.5"),
        ({"strength": float("nan")}, r"strength must be in \[0, 1\], got nan"),
        ({"by": "time"}, "by must be one of label, index, .*, got 'time'"),
        ({"by": "column", "column": -1}, "column must be >= 0, got -1"),
        ({"column": 2}, "column=2 goes with by=column, got by=label"),
    ],
)
def test_refusals(options: dict[str, float | str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Continuous(**options)  # type: ignore[arg-type]


def test_missing_features_are_refused() -> None:
    with pytest.raises(ValueError, match="column must be below the number of features, 2, got 2"):
        split(Continuous(by="column", column=2), Samples(LABELS, np.zeros((600, 2))))
    with pytest.raises(ValueError, match="continuous:by=mean reads features, and the samples"):
        split(Continuous(by="mean"), Samples(LABELS))
    assert Continuous().needs == Continuous(by="index").needs == Needs()
    assert Continuous(by="column").needs == Needs(features=True)
