"""Measures of skew by worker and of sizes: by loops, by scipy, and at the bounds."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from partitions.placing import shards_of
from partitions.skew import COLUMNS, Skew, gini, measure, of_counts

EMPTY = np.array([], np.int64)

tables = st.tuples(st.integers(1, 7), st.integers(1, 6)).flatmap(
    lambda shape: arrays(np.int64, shape, elements=st.integers(0, 9))
)
"""(W, C) counts; shards may be empty, and classes have no sample."""


def columns(skew: Skew) -> dict[str, NDArray[np.float64]]:
    return {name: getattr(skew, name) for name in COLUMNS}


@settings(max_examples=40, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), max_size=60),
    extra=st.lists(st.integers(0, 59), max_size=9),
)
def test_counts_are_those_of_each_shard(pairs: list[tuple[int, int]], extra: list[int]) -> None:
    owners, labels = np.array(pairs, np.int64).reshape(-1, 2).T
    shared = np.array([i for i in extra if i < len(labels)], np.int64)
    shards = [*shards_of(owners, 5), shared]  # the last one overlaps with the others
    classes = max(labels, default=-1) + 1
    expected = [[sum(labels[i] == c for i in shard) for c in range(classes)] for shard in shards]
    skew = measure(labels, shards)
    np.testing.assert_array_equal(skew.counts, np.reshape(expected, (6, classes)))
    assert skew.counts.dtype == skew.sizes.dtype == np.int64


@settings(max_examples=40, deadline=None)
@given(tables)
def test_every_worker_by_second_ways(counts: NDArray[np.int64]) -> None:
    stats = pytest.importorskip("scipy.stats")
    skew = of_counts(counts)
    whole = counts.sum(axis=0)
    for k, row in enumerate(counts):
        actual = [float(values[k]) for values in columns(skew).values()]
        if not row.any():
            assert actual == [1.0, 1.0, 0.0, 1.0]  # the rule of the class
            continue
        p, q = row / row.sum(), whole / whole.sum()
        emd = sum(abs(a - b) for a, b in zip(p, q, strict=True))
        # 1 - h^2 is the Bhattacharyya coefficient; a root of rounding is 1e-8.
        apart = math.sqrt(max(0.0, 1 - sum(np.sqrt(p * q))))
        present = [c for c in range(len(whole)) if whole[c]]
        missing = sum(row[c] == 0 for c in present) / len(present)
        expected = [emd / 2, apart, math.exp(stats.entropy(row)), missing]
        assert actual == pytest.approx(expected, abs=1e-7)


@settings(max_examples=40, deadline=None)
@given(tables)
def test_bounds(counts: NDArray[np.int64]) -> None:
    with np.errstate(all="raise"):
        skew = of_counts(counts)
        summary = skew.summary()
    workers = len(counts)
    for values in columns(skew).values():
        assert values.dtype == np.float64
        assert values.shape == (workers,)
        assert (values >= 0).all()
    for values in (skew.label_tv, skew.hellinger, skew.missing_classes):
        assert (values <= 1).all()
    # Le Cam's inequalities: h^2 <= TV <= h sqrt(2 - h^2).
    h = skew.hellinger
    assert (h**2 <= skew.label_tv + 1e-12).all()
    assert (skew.label_tv <= h * np.sqrt(2 - h**2) + 1e-12).all()
    present = (counts > 0).sum(axis=1)
    assert (skew.effective_classes <= present * (1 + 1e-12)).all()
    assert (skew.effective_classes[present > 0] >= 1 - 1e-12).all()
    assert 0 <= summary["size_gini"] <= 1 - 1 / workers + 1e-12
    assert summary["size_ratio"] >= 1
    assert summary["size_min"] <= summary["size_median"] <= summary["size_max"]
    if counts.any():
        assert 1 - 1e-12 <= summary["effective_workers"] <= workers * (1 + 1e-12)
        # Both measure the same of the sizes: n^2 / sum n_k^2 = W / (1 + cv^2).
        again = workers / (1 + summary["size_cv"] ** 2)
        assert summary["effective_workers"] == pytest.approx(again)


@settings(max_examples=40, deadline=None)
@given(counts=tables, seed=st.integers(0, 99))
def test_neither_the_order_of_workers_nor_of_classes_matters(
    counts: NDArray[np.int64], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    order, names = rng.permutation(counts.shape[0]), rng.permutation(counts.shape[1])
    skew, other = of_counts(counts), of_counts(counts[order][:, names])
    for name, values in columns(other).items():
        np.testing.assert_allclose(values, columns(skew)[name][order], atol=1e-12)
    assert other.summary() == pytest.approx(skew.summary(), abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=1, max_size=12))
def test_gini_by_its_definition(sizes: list[int]) -> None:
    total = sum(sizes)
    pairs = sum(abs(a - b) for a in sizes for b in sizes)
    expected = pairs / (2 * len(sizes) * total) if total else 0.0
    assert gini(np.array(sizes, np.float64)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("workers", [1, 2, 10])
def test_one_class_for_each_worker(workers: int) -> None:
    skew = of_counts(6 * np.eye(workers, dtype=np.int64))
    share = 1 / workers
    np.testing.assert_allclose(skew.label_tv, 1 - share, atol=1e-12)
    np.testing.assert_allclose(skew.hellinger, math.sqrt(1 - math.sqrt(share)), atol=1e-12)
    np.testing.assert_allclose(skew.effective_classes, 1.0)
    np.testing.assert_allclose(skew.missing_classes, 1 - share)
    assert skew.summary()["label_emd_mean"] == pytest.approx(2 - 2 * share, abs=1e-12)


def test_equal_label_shares_have_no_skew_but_of_size() -> None:
    skew = of_counts(np.outer([1, 2, 5], [3, 1, 0, 4]))
    for name in ("label_tv", "hellinger", "missing_classes"):
        np.testing.assert_allclose(getattr(skew, name), 0.0, atol=1e-12)
    assert np.ptp(skew.effective_classes) < 1e-12
    assert skew.label_js == pytest.approx(0.0, abs=1e-12)
    assert skew.summary()["size_ratio"] == 5
    even = of_counts(np.full((4, 3), 7)).summary()
    assert [even[name] for name in ("size_gini", "size_cv", "size_ratio")] == [0, 0, 1]
    assert even["effective_workers"] == 4


@pytest.mark.parametrize("workers", [2, 5])
def test_one_worker_has_all(workers: int) -> None:
    summary = measure(np.arange(8) % 3, [np.arange(8), *[EMPTY] * (workers - 1)]).summary()
    assert summary["size_gini"] == pytest.approx(1 - 1 / workers)
    assert summary["size_cv"] == pytest.approx(math.sqrt(workers - 1))
    assert (summary["effective_workers"], summary["size_ratio"]) == (1.0, math.inf)


def test_absent_classes_do_not_count_as_missing() -> None:
    skew = measure(np.array([0, 5, 5, 5]), [np.array([0, 1]), np.array([2, 3])])
    np.testing.assert_array_equal(skew.missing_classes, [0.0, 0.5])


def test_shards_without_samples() -> None:
    with np.errstate(all="raise"):
        summary = measure(EMPTY, [EMPTY, EMPTY]).summary()
    assert summary.pop("size_ratio") == math.inf
    ones = {"label_tv_mean", "label_tv_max", "hellinger_mean", "missing_classes_mean"}
    assert {name for name, value in summary.items() if value == 1} == ones
    assert summary["label_emd_mean"] == 2
    assert not any(summary[name] for name in summary.keys() - ones - {"label_emd_mean"})
