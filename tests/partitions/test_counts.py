"""Tables of counts: both margins met, near what was wanted, and dealt as they say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from partitions.classes import Classes
from partitions.counts import class_sizes, dealt, owned
from partitions.dirichlet_worker import DirichletWorker
from partitions.extended_dirichlet import ExtendedDirichlet
from partitions.mixed import Mixed
from partitions.power_law import PowerLaw
from partitions.protocol import Samples
from partitions.sizes import apportioned, dirichlet, even
from partitions.skew import measure
from partitions.transport import columnwise, fit, rounded

LABELS = np.random.default_rng(0).choice(12, 3001, p=np.arange(1, 13) / 78)


@settings(deadline=None, max_examples=40)
@given(
    parts=st.integers(1, 30),
    columns=st.lists(st.integers(1, 60), min_size=1, max_size=12),
    alpha=st.floats(1e-3, 100),
    seed=st.integers(0, 2**20),
)
def test_both_margins_are_exact_and_the_plan_is_near(
    parts: int, columns: list[int], alpha: float, seed: int
) -> None:
    rng, total = np.random.default_rng(seed), sum(columns)
    rows, sums = even(total, parts), np.array(columns)
    plan = fit(dirichlet(alpha, (parts, len(columns)), rng), rows, sums)
    np.testing.assert_allclose(plan.sum(0), sums, rtol=1e-9)
    counts = rounded(plan, rows, sums, rng)
    assert (counts >= 0).all()
    np.testing.assert_array_equal(counts.sum(1), rows)
    np.testing.assert_array_equal(counts.sum(0), sums)
    if np.abs(plan.sum(1) - rows).max() < 0.02:  # fitted: what is left is rounding
        assert np.abs(counts - plan).max() < 1 + len(columns)


def test_the_fit_is_the_nearest_table_in_kullback_leibler_divergence() -> None:
    """Against a general solver over all tables with these margins."""
    rng = np.random.default_rng(3)
    weights, rows, columns = rng.random((3, 4)) + 0.1, np.array([5, 9, 6]), np.array([7, 3, 6, 4])

    def divergence(flat: np.ndarray) -> float:
        table = np.maximum(flat, 1e-12)
        return float((table * np.log(table / weights.ravel())).sum() - table.sum())

    margins = [
        {"type": "eq", "fun": lambda f, i=i: f.reshape(3, 4)[i].sum() - rows[i]} for i in range(3)
    ] + [
        {"type": "eq", "fun": lambda f, j=j: f.reshape(3, 4)[:, j].sum() - columns[j]}
        for j in range(3)  # the last follows from the others
    ]
    start = np.outer(rows, columns).ravel() / 20
    found = minimize(
        divergence, start, constraints=margins, bounds=[(0, None)] * 12, options={"ftol": 1e-12}
    )
    np.testing.assert_allclose(fit(weights, rows, columns).ravel(), found.x, atol=0.02)  # NEAR


def test_columnwise_shares_are_unbiased_and_rounded_by_less_than_one() -> None:
    weights = np.array([[1.0, 0], [2, 1], [0, 3]])
    columns = np.array([10, 7])
    wanted = weights / weights.sum(0) * columns
    total = np.zeros_like(wanted)
    for seed in range(2000):
        counts = columnwise(weights, columns, np.random.default_rng(seed))
        assert (np.abs(counts - wanted) < 1).all()
        assert (counts.sum(0) == columns).all()
        assert (counts[weights == 0] == 0).all()
        total += counts
    # A count has standard deviation 1/2 at most: 5 of those of the mean of 2,000.
    np.testing.assert_allclose(total / 2000, wanted, atol=5 * 0.5 / 2000**0.5)


def test_what_is_dealt_has_the_counts_and_is_drawn_within_a_class() -> None:
    samples = Samples(LABELS)
    counts = columnwise(np.ones((7, 12)), class_sizes(samples), np.random.default_rng(1))
    shards, others = (dealt(samples, counts, np.random.default_rng(seed)) for seed in (2, 3))
    held = np.stack([np.bincount(LABELS[shard], minlength=12) for shard in shards])
    np.testing.assert_array_equal(held, counts)
    assert any(not np.array_equal(a, b) for a, b in zip(shards, others, strict=True))


def test_apportioned_sizes() -> None:
    np.testing.assert_array_equal(apportioned(np.array([1.0, 1, 1]), 10), [4, 3, 3])
    np.testing.assert_array_equal(apportioned(np.array([1.0, 0, 99]), 100), [1, 1, 98])
    np.testing.assert_array_equal(apportioned(np.array([5.0, 3, 2]), 1000, 0), [500, 300, 200])
    np.testing.assert_array_equal(even(11, 4), [3, 3, 3, 2])


@pytest.mark.parametrize("assign", ["random", "deterministic"])
@pytest.mark.parametrize(("parts", "classes", "k"), [(3, 12, 2), (16, 10, 3), (5, 4, 9), (1, 6, 2)])
def test_every_class_has_an_owner_and_every_worker_k_classes(
    parts: int, classes: int, k: int, assign: str
) -> None:
    held = owned(parts, classes, k, assign, np.random.default_rng(0))
    assert held.any(0).all()
    assert (held.sum(1) >= min(k, classes)).all()
    assert held[np.arange(parts), np.arange(parts) % classes].all()
    assert held.sum() == max(parts * min(k, classes), held.sum())
    if parts * k >= 2 * classes * max(1, k // 2) and assign == "deterministic":
        assert (held.sum(1) == min(k, classes)).all()


def test_k_classes_a_worker_and_even_shares() -> None:
    labels = np.repeat(np.arange(10), 320)
    shards = Classes(k=2).split(Samples(labels), 20, np.random.default_rng(4))
    skew = measure(labels, shards)
    assert ((skew.counts > 0).sum(1) == 2).all()
    for held in skew.counts.T:
        assert np.ptp(held[held > 0]) <= 1
    neighbours = Classes(k=2, assign="deterministic").split(
        Samples(labels), 10, np.random.default_rng(0)
    )
    for i, shard in enumerate(neighbours):
        assert set(labels[shard].tolist()) == {i, (i + 1) % 10}


def test_dirichlet_worker_has_equal_sizes_and_falls_with_alpha() -> None:
    samples = Samples(LABELS)
    skews = []
    for alpha in (0.01, 0.1, 1, 10, 1000):
        shards = DirichletWorker(alpha).split(samples, 13, np.random.default_rng(5))
        skew = measure(LABELS, shards)
        assert skew.sizes.max() - skew.sizes.min() <= 1
        skews.append(skew.label_js)
    assert skews == sorted(skews, reverse=True)
    assert skews[0] > 0.6
    assert skews[-1] < 0.01


def test_extended_dirichlet_holds_k_classes_and_alpha_evens_them() -> None:
    labels = np.repeat(np.arange(10), 1000)
    spread = []
    for alpha in (0.1, 1000.0):
        shards = ExtendedDirichlet(k=3, alpha=alpha).split(
            Samples(labels), 20, np.random.default_rng(1)
        )
        counts = measure(labels, shards).counts
        assert ((counts > 0).sum(1) <= 4).all()  # 3, and one topped up at most
        owners = counts[counts > 0]
        spread.append(float(owners.std() / owners.mean()))
    assert spread[0] > 2 * spread[1]


def test_power_law_sizes_spread_with_sigma_and_respect_the_least() -> None:
    labels = np.repeat(np.arange(10), 1000)
    ratios = []
    for sigma in (0.0, 2.0):
        shards = PowerLaw(sigma=sigma).split(Samples(labels), 20, np.random.default_rng(1))
        sizes = measure(labels, shards).sizes
        assert sizes.min() >= 5
        ratios.append(sizes.max() / sizes.min())
    assert ratios[1] > 10 * ratios[0]


def test_mixed_has_the_sizes_of_its_law_and_the_labels_of_its_alpha() -> None:
    samples = Samples(LABELS)
    sizes, skews = [], []
    for alpha in (0.1, 100.0):
        shards = Mixed(alpha=alpha, law="linear").split(samples, 8, np.random.default_rng(0))
        skew = measure(LABELS, shards)
        sizes.append(skew.sizes.tolist())
        skews.append(skew.label_js)
    assert sizes[0] == sizes[1] == apportioned(np.arange(1.0, 9), 3001).tolist()
    assert skews[0] > 5 * skews[1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Classes(k=0), "k must be >= 1, got 0"),
        (lambda: Classes(assign="sorted"), "assign must be one of random, deterministic"),
        (lambda: DirichletWorker(0), "alpha must be a finite number > 0, got 0"),
        (lambda: ExtendedDirichlet(k=0), "k must be >= 1, got 0"),
        (lambda: ExtendedDirichlet(alpha=float("inf")), "alpha must be a finite number > 0"),
        (lambda: PowerLaw(sigma=-1), "sigma must be a finite number >= 0, got -1"),
        (lambda: PowerLaw(min_size=-1), "min_size must be >= 0, got -1"),
        (lambda: Mixed(alpha=0), "alpha must be a finite number > 0, got 0"),
        (lambda: Mixed(law="cubic"), "law must be one of dirichlet, log_normal"),
        (lambda: Mixed(min_size=0), "min_size must be >= 1, got 0"),
    ],
)
def test_refusals(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
