"""Label skew of neighbourhoods: by hand, by a loop, and with a known answer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from partitions.skew import neighbourhood_tv, of_counts

NOBODY = np.array([], np.int64)


@st.composite
def draw_links(draw: st.DrawFn) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Draw counts (W, C) and the two ends of links, some repeated, some from a worker to itself."""
    workers, classes = draw(st.integers(1, 7)), draw(st.integers(1, 5))
    counts = draw(arrays(np.int64, (workers, classes), elements=st.integers(0, 9)))
    ends = st.tuples(st.integers(0, workers - 1), st.integers(0, workers - 1))
    links = np.array(draw(st.lists(ends, max_size=25)), np.int64).reshape(-1, 2)
    return counts, links[:, 0], links[:, 1]


def one_by_one(
    counts: NDArray[np.int64], source: NDArray[np.int64], target: NDArray[np.int64]
) -> list[float]:
    """Compute the same from sets."""
    actual = []
    whole = counts.sum(axis=0)
    for i in range(len(counts)):
        members = {i} | {int(a) for a, b in zip(source, target, strict=True) if b == i}
        near = sum(counts[j] for j in members)
        filled = near.sum() > 0
        apart = abs(near / near.sum() - whole / whole.sum()).sum() / 2 if filled else 1.0
        actual.append(float(apart))
    return actual


def test_by_hand() -> None:
    counts = np.array([[2, 0], [0, 1], [1, 0]])  # 3/4 of all samples are of class 0
    # 0 -> 1 -> 2: neighbourhoods have [2, 0], [2, 1] and [1, 1] samples.
    actual = neighbourhood_tv(counts, np.array([0, 1]), np.array([1, 2]))
    np.testing.assert_allclose(actual, [1 / 4, 1 / 12, 1 / 4])
    assert actual.dtype == np.float64


@settings(max_examples=40, deadline=None)
@given(draw_links())
def test_it_equals_that_of_the_samples_of_the_set(
    links: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
) -> None:
    with np.errstate(all="raise"):
        actual = neighbourhood_tv(*links)
    np.testing.assert_allclose(actual, one_by_one(*links), atol=1e-12)
    assert (actual >= 0).all()
    assert (actual <= 1).all()


@settings(max_examples=25, deadline=None)
@given(links=draw_links(), seed=st.integers(0, 99))
def test_neither_the_order_of_links_nor_of_workers_matters(
    links: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]], seed: int
) -> None:
    counts, source, target = links
    rng = np.random.default_rng(seed)
    order, shuffled = rng.permutation(len(counts)), rng.permutation(len(source))
    name = np.argsort(order)  # the new name of worker order[k] is k
    renamed = neighbourhood_tv(counts[order], name[source[shuffled]], name[target[shuffled]])
    np.testing.assert_allclose(renamed, neighbourhood_tv(*links)[order], atol=1e-12)


@pytest.mark.parametrize("workers", [1, 2, 9])
def test_no_links_give_the_skew_of_the_shard_and_all_links_none(workers: int) -> None:
    counts = np.random.default_rng(workers).integers(0, 9, (workers, 4))
    alone = neighbourhood_tv(counts, NOBODY, NOBODY)
    np.testing.assert_allclose(alone, of_counts(counts).label_tv)
    source, target = (ends.ravel() for ends in np.indices((workers, workers)))
    np.testing.assert_allclose(neighbourhood_tv(counts, source, target), 0.0, atol=1e-12)


def test_cliques_of_all_classes_have_no_skew_and_cliques_of_one_class_the_whole() -> None:
    """9 workers of one class each, 3 classes, in cliques 0 1 2, 3 4 5 and 6 7 8."""
    worker = np.arange(9)
    source, target = np.nonzero(worker // 3 == worker[:, np.newaxis] // 3)
    of_class = 4 * np.eye(3, dtype=np.int64)
    mixed, alike = of_class[worker % 3], of_class[worker // 3]
    np.testing.assert_allclose(neighbourhood_tv(mixed, source, target), 0.0, atol=1e-12)
    np.testing.assert_allclose(neighbourhood_tv(alike, source, target), 2 / 3)


def test_thousands_of_workers_on_an_exponential_graph() -> None:
    """Worker i has class i mod 4 and gets rows from those 1, 2, 4, ..., 2048 before it.

    Itself and the ten of 4 hops and more are of its class, the other two of two others: shares of
    11/13, 1/13, 1/13 and 0 against a quarter each.
    """
    worker = np.arange(4096)
    counts = 16 * np.eye(4, dtype=np.int64)[worker % 4]
    target = ((worker[:, np.newaxis] + 2 ** np.arange(12)) % 4096).ravel()
    actual = neighbourhood_tv(counts, np.repeat(worker, 12), target)
    np.testing.assert_allclose(actual, 11 / 13 - 1 / 4)
