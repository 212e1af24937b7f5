"""Sizes by a law: exact at any parameter and by the law; the scheme Quantity."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partitions.protocol import Samples
from partitions.quantity import Quantity
from partitions.sizes import LAWS, amounts


@settings(deadline=None, max_examples=40)
@given(
    law=st.sampled_from(list(LAWS)),
    part=st.one_of(st.sampled_from([0.0, 1.0, 5e-324]), st.floats(0, 1)),
    parts=st.integers(1, 1024),
    min_size=st.integers(0, 3),
    spare=st.integers(1, 5000),
    seed=st.integers(0, 999),
)
def test_sizes_are_whole_and_complete_at_any_parameter_of_a_law(
    law: str, part: float, parts: int, min_size: int, spare: int, seed: int
) -> None:
    n = parts * min_size + spare
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        sizes = amounts(law, part * LAWS[law].most, n, parts, min_size, np.random.default_rng(seed))
    assert sizes.dtype == np.int64
    assert sizes.shape == (parts,)
    assert sizes.sum() == n
    assert sizes.min() >= min_size


@pytest.mark.parametrize(("law", "power"), [("linear", 1), ("square", 2), ("zipf", -3)])
@pytest.mark.parametrize(("n", "parts"), [(1000, 7), (30_001, 64), (5000, 1)])
def test_largest_remainders_in_fractions(law: str, power: int, n: int, parts: int) -> None:
    weights = [Fraction(k + 1) ** power for k in range(parts)]
    reference = [weight * n / sum(weights) for weight in weights]
    expected = [int(share) for share in reference]
    by_remainder = sorted(range(parts), key=lambda k: (expected[k] - reference[k], k))
    for k in by_remainder[: n - sum(expected)]:
        expected[k] += 1
    parameter = -power if law == "zipf" else 0
    sizes = amounts(law, parameter, n, parts, 0, np.random.default_rng(0))
    assert sizes.tolist() == expected


def test_dirichlet_sizes_have_the_moments_of_the_dirichlet() -> None:
    rng, parts, alpha, draws = np.random.default_rng(0), 6, 0.5, 4000
    q = np.array([amounts("dirichlet", 0, 10**6, parts, 0, rng) for _ in range(draws)]) / 1e6
    variance = (1 / parts) * (1 - 1 / parts) / (parts * alpha + 1)
    # 5 standard errors; the variance of 6 x 4,000 draws is known to about 2 %.
    np.testing.assert_allclose(q.mean(axis=0), 1 / parts, atol=5 * (variance / draws) ** 0.5)
    assert q.var() == pytest.approx(variance, rel=0.1)


def test_only_the_largest_make_up_for_small_shards() -> None:
    free, lifted = (amounts("zipf", 3, 300, 20, m, np.random.default_rng(0)) for m in (0, 2))
    assert free.min() == 0
    large = free >= 2
    large[0] = False
    np.testing.assert_array_equal(lifted[large], free[large])
    assert (lifted[free < 2] == 2).all()


def test_explicit_sizes_are_proportions_of_all_samples() -> None:
    labels = np.zeros(60, dtype=np.int64)
    for text, sizes in (
        ("3/0/1", [45, 0, 15]),
        ("10/20/30", [10, 20, 30]),
        ("1/1/2", [15, 15, 30]),
    ):
        shards = Quantity(sizes=text).split(Samples(labels), 3, np.random.default_rng(0))
        assert [len(shard) for shard in shards] == sizes
        np.testing.assert_array_equal(np.sort(np.concatenate(shards)), np.arange(60))


def test_samples_of_a_worker_are_random() -> None:
    first = [
        Quantity(law="giant").split(Samples(np.zeros(1000, int)), 4, np.random.default_rng(seed))[0]
        for seed in range(2)
    ]
    assert len(first[0]) == len(first[1]) == 500
    # Hypergeometric: 250 of 500 in common, standard deviation 7.9; 5 of them.
    assert abs(len(np.intersect1d(first[0], first[1])) - 250) < 40


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"law": "linear", "parameter": 2.0}, "law linear has no parameter: leave parameter=2.0"),
        ({"law": "zipf", "parameter": 51.0}, "must be >= 0 and at most 50, 0 for the default of"),
        ({"parameter": float("nan")}, "parameter must be >= 0 and at most .*; got nan"),
        ({"parameter": float("inf")}, "parameter must be >= 0 and at most .*; got inf"),
        ({"parameter": -1.0}, r"0 for the default of the law, 0\.5; got -1"),
        ({"law": "cubic"}, "law must be one of dirichlet, .*, got 'cubic'"),
        ({"min_size": -1}, "min_size must be >= 0, got -1"),
        ({"sizes": "1/2", "law": "zipf"}, "sizes=1/2 replaces the law: leave law, param"),
        ({"sizes": "1/2", "min_size": 3}, "sizes=1/2 replaces the law: leave law, param"),
        ({"sizes": "1_0/2"}, "sizes must be whole numbers >= 0 as in 500/200/100, not all 0, got"),
        ({"sizes": "1//2"}, "sizes must be whole numbers >= 0 as in 500/200/100, not all 0, got"),
        ({"sizes": "9" * 400}, "sizes must be whole numbers >= 0 as in 500/200/100, not all 0"),
    ],
)
def test_refusals(options: dict[str, float | str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Quantity(**options)  # type: ignore[arg-type]
