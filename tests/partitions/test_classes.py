"""Schemes by a number of classes for each worker: owners of classes and their shares."""

import numpy as np
import pytest
from numpy.typing import NDArray

from partitions.classes import Classes, ExtendedDirichlet, PowerLaw
from partitions.protocol import Partition, Samples
from partitions.skew import measure
from partitions.transport import class_owners, class_sizes, deal, divide_columns

BALANCED = np.random.default_rng(1).permutation(np.arange(8000) % 10)
GAPS = np.random.default_rng(0).choice([0, 1, 4, 9], 3001, p=[0.6, 0.2, 0.15, 0.05])


def counts_of(
    scheme: Partition, labels: NDArray[np.int64], parts: int, seed: int = 0
) -> NDArray[np.int64]:
    return measure(labels, scheme.split(Samples(labels), parts, np.random.default_rng(seed))).counts


@pytest.mark.parametrize("assign", ["random", "deterministic"])
@pytest.mark.parametrize(
    ("parts", "classes", "k"), [(3, 12, 2), (16, 10, 3), (5, 4, 9), (1, 6, 2), (40, 7, 1)]
)
def test_every_worker_owns_k_classes_and_every_class_has_an_owner(
    parts: int, classes: int, k: int, assign: str
) -> None:
    owners = class_owners(parts, classes, k, assign, np.random.default_rng(0))
    for i in range(parts):
        assert owners[i, i % classes]
        if assign == "deterministic":
            assert all(owners[i, (i + j) % classes] for j in range(k))
    assert owners.any(axis=0).all()
    more = owners.sum(axis=1) - min(k, classes)
    assert more.min() >= 0
    # Only a class without another owner exceeds k.
    for i in np.flatnonzero(more).tolist():
        assert (owners[i] & (owners.sum(axis=0) == 1) & (np.arange(classes) % parts == i)).any()


def test_random_others_are_drawn_evenly() -> None:
    owners = class_owners(20_000, 5, 2, "random", np.random.default_rng(2))
    for c in range(5):
        first = np.arange(20_000) % 5 == c
        assert owners[first, c].all()
        # One of four others: 4,000 workers, standard deviation 0.0068 of a share; 5 of those.
        rest = owners[first].mean(axis=0)[np.arange(5) != c]
        np.testing.assert_allclose(rest, 0.25, atol=0.034)


def test_dealt_shards_have_the_counts_and_are_drawn_within_a_class() -> None:
    samples, parts = Samples(GAPS), 7
    counts = divide_columns(np.ones((parts, 4)), class_sizes(samples), np.random.default_rng(1))
    shards, rest = (deal(samples, counts, np.random.default_rng(seed)) for seed in (2, 3))
    np.testing.assert_array_equal(measure(GAPS, shards).counts[:, [0, 1, 4, 9]], counts)
    # The first worker draws a seventh: two draws have at most a seventh of that in common.
    common = len(np.intersect1d(shards[0], rest[0]))
    assert common == pytest.approx(3001 / 49, abs=5 * (3001 / 49) ** 0.5)


@pytest.mark.parametrize("assign", ["random", "deterministic"])
def test_classes_are_shared_evenly_by_their_owners(assign: str) -> None:
    counts = counts_of(Classes(k=3, assign=assign), BALANCED, 23)
    assert ((counts > 0).sum(axis=1) == 3).all()
    for owners in counts.T:
        assert np.ptp(owners[owners > 0]) <= 1
    one = counts_of(Classes(k=10), BALANCED, 9)
    assert np.ptp(one) <= 1


def test_absent_classes_have_no_owner() -> None:
    """Four of the labels up to 9 are present: worker i begins with the one of rank i mod 4."""
    counts = counts_of(Classes(k=1), GAPS, 8)
    assert ((counts > 0).sum(axis=1) == 1).all()
    assert counts.argmax(axis=1).tolist() == [0, 1, 4, 9] * 2


def test_further_classes_are_dealt_in_turn() -> None:
    counts = counts_of(Classes(k=2, assign="deterministic"), BALANCED, 3)
    expected = [{0, 1, 6, 9}, {1, 2, 4, 7}, {2, 3, 5, 8}]
    assert [set(np.flatnonzero(owners).tolist()) for owners in counts] == expected


def test_shares_of_an_extended_class_follow_the_dirichlet_of_its_owners() -> None:
    """Two workers own both classes: the share of one is Beta(alpha, alpha)."""
    labels = np.arange(2000) % 2
    for alpha in (0.2, 1.0, 20.0):
        shares = np.array(
            [
                counts_of(ExtendedDirichlet(k=2, alpha=alpha), labels, 2, seed)[0] / 1000
                for seed in range(300)
            ]
        )
        variance = 1 / (4 * (2 * alpha + 1))
        # 600 draws: 5 standard errors of the mean; the variance is known to about 6 %.
        assert shares.mean() == pytest.approx(0.5, abs=5 * (variance / 600) ** 0.5)
        assert shares.var() == pytest.approx(variance, rel=0.2)


@pytest.mark.parametrize("alpha", [5e-324, 1e-3, 1.0, 1e308])
def test_extended_workers_own_k_classes_at_any_concentration(alpha: float) -> None:
    for min_size in (1, 50):
        scheme = ExtendedDirichlet(k=3, alpha=alpha, min_size=min_size)
        counts = counts_of(scheme, BALANCED, 40)
        assert counts.sum(axis=1).min() >= min_size
        full = counts.sum(axis=1) > min_size  # not topped up from any shard
        assert ((counts[full] > 0).sum(axis=1) <= 3).all()
    if alpha == 1e308:
        owners = counts[counts > 0]
        assert owners.max() <= 2 * 3 * np.median(owners)


def test_power_law_follows_its_normal_draws() -> None:
    """sigma = 0 shares evenly; the logarithms of two shares of a class differ by sigma sqrt 2."""
    even = counts_of(PowerLaw(sigma=0), BALANCED, 20)
    assert ((even > 0).sum(axis=1) == 2).all()
    assert even[even > 0].max() - even[even > 0].min() <= 1
    labels = np.repeat(0, 10**6)
    for sigma in (0.1, 0.5):
        shares = counts_of(PowerLaw(sigma=sigma), labels, 1000)[:, 0]
        # 1,000 draws give the deviation to 2.2 %; 1,000 samples a share add 3 %, in squares.
        deviation = np.hypot(sigma, 1000**-0.5)
        assert np.log(shares).std() == pytest.approx(deviation, rel=0.12)


@pytest.mark.parametrize("sigma", [2.0, 1e307, 1.7e308])
def test_power_law_places_all_and_keeps_min_size_at_any_spread(sigma: float) -> None:
    for n, least in ((8000, 5), (90, 3), (40, 1)):
        counts = counts_of(PowerLaw(sigma=sigma), BALANCED[:n], 30)
        assert counts.sum() == n
        assert counts.sum(axis=1).min() >= least
    free = counts_of(PowerLaw(sigma=sigma, min_size=0), BALANCED, 30)
    assert ((free > 0).sum(axis=1) <= 2).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Classes(k=0), "k must be >= 1, got 0"),
        (lambda: Classes(assign="sorted"), "assign must be one of random, deterministic, got 'so"),
        (lambda: ExtendedDirichlet(k=0), "k must be >= 1, got 0"),
        (lambda: ExtendedDirichlet(alpha=float("inf")), "alpha must be a finite number > 0, got"),
        (lambda: ExtendedDirichlet(min_size=0), "min_size must be >= 1, got 0"),
        (lambda: PowerLaw(k=-3), "k must be >= 1, got -3"),
        (lambda: PowerLaw(sigma=float("nan")), "sigma must be a finite number >= 0, got nan"),
        (lambda: PowerLaw(min_size=-1), "min_size must be >= 0, got -1"),
        (
            lambda: counts_of(ExtendedDirichlet(min_size=101), BALANCED, 80),
            "80 workers x min_size 101 need 8080, but there are 8000 samples: min_size=100 fits",
        ),
    ],
)
def test_refusals(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
