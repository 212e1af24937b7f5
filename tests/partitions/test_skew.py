"""Measures of skew: by hand, by two other libraries, and at their bounds."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import mutual_info_score

from partitions import PARTITIONS
from partitions.dirichlet import Dirichlet
from partitions.placing import shards_of
from partitions.protocol import Samples
from partitions.skew import measure

EMPTY = np.array([], dtype=np.int64)


def test_by_hand() -> None:
    skew = measure(np.array([0, 0, 1, 1]), [np.array([0, 1, 2]), np.array([3])])
    np.testing.assert_array_equal(skew.counts, [[2, 1], [0, 1]])
    np.testing.assert_array_equal(skew.sizes, [3, 1])
    np.testing.assert_allclose(skew.label_tv, [1 / 6, 1 / 2])
    # H(1/2) = 1 bit, H(1/3) = 0.918296 bit: (1 - 3/4 * 0.918296) / min(1, 1).
    assert skew.label_js == pytest.approx(0.311278, abs=1e-6)
    summary = skew.summary()
    assert summary["label_tv_mean"] == pytest.approx(1 / 3)
    assert summary["label_tv_max"] == pytest.approx(1 / 2)
    assert summary["label_emd_mean"] == pytest.approx(2 / 3)
    assert summary["label_js"] == skew.label_js
    assert (summary["size_min"], summary["size_median"], summary["size_max"]) == (1, 2.0, 3)
    assert summary["size_ratio"] == 3
    assert summary["size_gini"] == pytest.approx(1 / 4)  # |3 - 1| twice, over 2 * 2 * 4
    assert summary["size_cv"] == pytest.approx(1 / 2)  # 2 +- 1
    assert summary["effective_workers"] == pytest.approx(16 / 10)
    np.testing.assert_allclose(skew.missing_classes, [0, 1 / 2])
    entropy = -(2 / 3) * math.log(2 / 3) - math.log(1 / 3) / 3
    np.testing.assert_allclose(skew.effective_classes, [math.exp(entropy), 1])
    overlap = math.sqrt(2 / 3 / 2) + math.sqrt(1 / 3 / 2)  # Hellinger is sqrt(1 - overlap)
    np.testing.assert_allclose(
        skew.hellinger, [math.sqrt(1 - overlap), math.sqrt(1 - math.sqrt(1 / 2))]
    )
    assert skew.counts.dtype == skew.sizes.dtype == np.int64
    assert skew.label_tv.dtype == np.float64


@settings(max_examples=40, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 9)), min_size=1, max_size=120),
    parts=st.integers(8, 12),
)
def test_js_is_the_mutual_information_of_worker_and_label(
    pairs: list[tuple[int, int]], parts: int
) -> None:
    owners, labels = np.array(pairs).T
    skew = measure(labels, shards_of(owners, parts))
    present = np.unique(labels).size
    if present == 1:
        assert skew.label_js == 0.0
    else:
        expected = mutual_info_score(owners, labels) / math.log(min(parts, present))
        assert skew.label_js == pytest.approx(expected, abs=1e-12)
    assert 0.0 <= skew.label_js <= 1.0
    assert (skew.label_tv >= 0).all()
    assert (skew.label_tv <= 1).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=60))
def test_js_of_two_equal_shards_is_the_jensen_shannon_divergence(half: list[int]) -> None:
    distance = pytest.importorskip("scipy.spatial.distance")
    labels = np.array(half + half[::-1][1:] + [0])
    shards = [np.arange(len(half)), np.arange(len(half), 2 * len(half))]
    skew = measure(labels, shards)
    p, q = skew.counts / len(half)
    expected = distance.jensenshannon(p, q, base=2) ** 2 if np.unique(labels).size > 1 else 0.0
    assert skew.label_js == pytest.approx(expected, abs=1e-9)  # a square root taken back


@settings(max_examples=40, deadline=None)
@given(
    labels=st.lists(st.integers(0, 4), min_size=6, max_size=60),
    parts=st.integers(2, 6),
    seed=st.integers(0, 99),
)
def test_neither_the_order_of_workers_nor_the_names_of_classes_matter(
    labels: list[int], parts: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    shards = shards_of(rng.integers(0, parts, size=len(labels)), parts)
    order, names = rng.permutation(parts), rng.permutation(9)
    skew = measure(np.array(labels), shards)
    renamed = measure(names[np.array(labels)], [shards[k] for k in order])
    assert renamed.label_js == pytest.approx(skew.label_js, abs=1e-12)
    np.testing.assert_allclose(renamed.label_tv, skew.label_tv[order], atol=1e-12)


@pytest.mark.parametrize(("parts", "classes"), [(2, 2), (5, 5), (12, 4), (3, 9)])
def test_one_class_a_worker_or_one_worker_a_class_is_one(parts: int, classes: int) -> None:
    labels = np.tile(np.arange(classes), 12)
    owners = labels % parts if parts <= classes else np.arange(12 * classes) % parts
    skew = measure(labels, shards_of(owners, parts))
    assert skew.label_js == pytest.approx(1.0)
    assert skew.label_js <= 1.0


def test_equal_shares_are_zero() -> None:
    skew = measure(np.tile([0, 1, 2], 4), [np.arange(0, 3), np.arange(3, 12)])
    assert skew.label_js == 0.0
    np.testing.assert_array_equal(skew.label_tv, [0.0, 0.0])


def test_schemes_are_ordered_by_their_skew() -> None:
    labels = np.random.default_rng(0).integers(0, 10, size=20_000)

    def js(shards: list[NDArray[np.int64]]) -> float:
        return measure(labels, shards).label_js

    samples, rng = Samples(labels), np.random.default_rng(1)
    iid = js(PARTITIONS["iid"]().split(samples, 8, rng))
    drawn = [js(Dirichlet(alpha).split(samples, 8, rng)) for alpha in (10.0, 1.0, 0.1, 1e-3)]
    # Expected for IID: (W - 1)(C - 1) / (2 n) / log W = 0.0008.
    assert 0.0 < iid < 0.002
    assert [iid, *drawn] == sorted([iid, *drawn])
    assert drawn[-1] > 0.85  # 10 classes, each almost whole, on some of 8 workers
    assert js(PARTITIONS["shards"]().split(samples, 8, rng)) > 0.5


def test_an_empty_shard_weighs_nothing_in_js_and_is_farthest_in_tv() -> None:
    labels = np.array([0, 0, 1, 1])
    two = [np.array([0, 1, 2]), np.array([3])]
    with np.errstate(all="raise"):
        skew = measure(labels, [*two, EMPTY])
    assert skew.label_tv.tolist() == pytest.approx([1 / 6, 1 / 2, 1.0])
    assert skew.label_js == pytest.approx(measure(labels, two).label_js)
    assert skew.summary()["size_min"] == 0
    assert skew.summary()["size_median"] == 1.0  # of 3, 1, 0: not the mean


@pytest.mark.parametrize(
    "shards", [[EMPTY], [EMPTY, EMPTY], [np.array([0])], [np.array([0]), EMPTY]]
)
@pytest.mark.parametrize("label", [0, 6])
def test_nothing_is_nan_with_few_samples(shards: list[NDArray[np.int64]], label: int) -> None:
    with np.errstate(all="raise"):
        skew = measure(np.array([label]), shards)
    assert skew.counts.shape == (len(shards), label + 1)
    assert skew.label_js == 0.0
    assert np.isfinite(skew.label_tv).all()


def test_no_samples_at_all() -> None:
    skew = measure(EMPTY, [EMPTY, EMPTY])
    assert skew.counts.shape == (2, 0)
    assert skew.label_tv.tolist() == [1.0, 1.0]
    assert skew.label_js == 0.0


def test_one_worker_has_no_skew() -> None:
    skew = measure(np.array([0, 3, 3]), [np.arange(3)])
    assert (skew.label_js, skew.label_tv.tolist()) == (0.0, [0.0])


def test_overlapping_shards_count_a_sample_for_each_holder() -> None:
    skew = measure(np.array([0, 1]), [np.array([0, 1]), np.array([0])])
    # The whole is 2/3, 1/3, not the 1/2, 1/2 of the data.
    np.testing.assert_allclose(skew.label_tv, [1 / 6, 1 / 3])


def test_refusals() -> None:
    with pytest.raises(ValueError, match="at least one shard, got 0"):
        measure(np.array([0]), [])
