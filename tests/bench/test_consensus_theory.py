"""Contraction factors: theory against dense eigenvalues and draws, fits against made curves."""

import math

import numpy as np
import pytest

from algorithms.topology import TOPOLOGIES, Links, RandomPair, Topology
from bench.gossip import theory
from bench.gossip.fit import (
    FLOOR,
    Curve,
    SquaredRatios,
    bend,
    difference_percent,
    exact_after,
    rate,
    squared_ratios,
    tail,
    tail_factor,
)
from bench.gossip.theory import contraction, power_iteration, random_matching, spectral_radius

PERIODIC = [name for name in TOPOLOGIES if name != "random_pair"]


def rounds(topology: Topology, total: int, seed: int = 0) -> list[Links]:
    period = topology.period(total) or 1
    return [topology.links(total, k, np.random.default_rng((seed, k))) for k in range(period)]


def dense_radius(period: list[Links]) -> float:
    """By eigenvalues of the whole product, the 1 of agreement taken out by its projector."""
    product = np.eye(period[0].total)
    for links in period:
        product = links.mixing_matrix() @ product
    values, vectors = np.linalg.eig(product)
    one = np.argmin(np.abs(values - 1))
    limit = np.outer(vectors[:, one], np.ones(len(values))) / vectors[:, one].sum()
    return float(np.abs(np.linalg.eigvals(product - limit)).max())


@pytest.mark.parametrize("name", PERIODIC)
@pytest.mark.parametrize("total", [2, 3, 4, 5, 6, 7, 12, 16, 33, 36, 64])
def test_factors_are_those_of_the_dense_matrices(name: str, total: int) -> None:
    topology = TOPOLOGIES[name]()
    period = topology.period(total)
    assert period is not None
    found = contraction(topology, total)
    # rounding moves a defective zero of a product of T by eps^(1/T): compared before the root
    assert found**period == pytest.approx(dense_radius(rounds(topology, total)), abs=1e-7)


@pytest.mark.parametrize(
    ("name", "total", "expected"),
    [
        ("ring", 16, (1 + 2 * math.cos(math.pi / 8)) / 3),
        ("torus", 36, (3 + 2 * math.cos(math.pi / 3)) / 5),
        ("static_exponential", 64, 5 / 7),
        ("star", 9, 1 / 2),
        ("exponential", 16, 0),
        ("complete", 7, 0),
        ("random_pair", 16, math.sqrt(7 / 15)),
        ("random_pair", 7, math.sqrt(1 / 2)),
        ("random_pair", 2, 0),
        ("torus", 4096, (3 + 2 * math.cos(math.pi / 32)) / 5),  # without a matrix of 4096^2
    ],
)
def test_factors_in_closed_form(name: str, total: int, expected: float) -> None:
    assert contraction(TOPOLOGIES[name](), total) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("total", [2, 3, 4, 7, 12])
def test_the_mean_square_of_random_matchings_by_drawing_them(total: int) -> None:
    draws = 4000
    topology, mean = RandomPair(), np.zeros((total, total))
    for k in range(draws):
        P = topology.links(total, k, np.random.default_rng((5, k))).mixing_matrix()
        np.testing.assert_allclose(P.T @ P, P, atol=1e-15)
        mean += P.T @ P / draws
    second = np.sort(np.linalg.eigvalsh(mean))[-2]
    # an entry is off by at most 0.5 / sqrt(draws) = 0.008, the extreme eigenvalue by a few of it
    assert second == pytest.approx(random_matching(total), abs=0.03)


def test_power_iteration_is_what_dense_eigenvalues_say(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, total in (("star", 9), ("torus", 12), ("exponential", 6)):
        period = rounds(TOPOLOGIES[name](), total)
        assert power_iteration(period) == pytest.approx(dense_radius(period), rel=1e-3)
    assert power_iteration(rounds(TOPOLOGIES["complete"](), 8)) == 0
    star = rounds(TOPOLOGIES["star"](), 20)
    dense = spectral_radius(star)
    monkeypatch.setattr(theory, "DENSE", 10)
    assert spectral_radius(star) == pytest.approx(dense, rel=1e-3)


def test_a_random_topology_without_a_formula_has_no_theory() -> None:
    class Unknown(RandomPair):
        pass

    assert math.isnan(contraction(Unknown(), 8))


def geometric(*factors: float, n: int) -> Curve:
    """The sum of geometric decays, of equal weight, 1 at the start."""
    k = np.arange(1, n + 1)
    made: Curve = np.mean([factor**k for factor in factors], axis=0)
    return made


def test_a_geometric_curve_gives_its_factor() -> None:
    for factor in (0.01, 0.6, 0.97, 0.9999):
        n = min(2000, int(-23 / math.log(factor)))
        assert tail_factor(geometric(factor, n=n), 1) == pytest.approx(factor, rel=1e-12)
        assert bend(geometric(factor, n=n), 1) < 1e-9


def test_the_fit_is_of_the_slowest_mode() -> None:
    assert tail_factor(geometric(0.9, 0.7, n=200), 1) == pytest.approx(0.9, rel=1e-5)
    k, _ = tail(geometric(0.9, n=200), 1)
    assert (k[0], k[-1]) == (100, 200)


def test_a_curve_cut_short_is_seen_to_bend() -> None:
    curve = geometric(0.999, 0.9, n=20)
    assert tail_factor(curve, 1) < 0.99
    assert bend(curve, 1) > 0.05


def test_periodic_curves_are_fitted_over_whole_periods() -> None:
    """Every third round shrinks the error, by 8: half a round, whatever the phase of the end."""
    for n in (30, 31, 32):
        curve: Curve = np.power(8.0, -(np.arange(1, n + 1) // 3))
        assert tail_factor(curve, 3) == pytest.approx(0.5, rel=1e-12)


def test_the_rounding_floor_is_never_fitted() -> None:
    curve = np.maximum(geometric(0.5, n=100), 3e-16)
    assert tail_factor(curve, 1) == pytest.approx(0.5, rel=1e-9)
    assert tail(curve, 1)[1].min() > FLOOR


def test_exact_agreement_is_told_from_a_curve_cut_short() -> None:
    exact = np.array([0.7, 0.5, 2e-16])
    assert (tail_factor(exact, 3), exact_after(exact)) == (0, 3)
    short = np.array([0.7, 0.5])
    assert math.isnan(tail_factor(short, 3))
    assert exact_after(short) == 0


def test_squared_ratios_are_averaged_over_all_rounds_of_all_curves() -> None:
    curves = [np.array([0.5, 0.5, 0.1]), np.array([1e-17, 1e-17]), np.array([0.8])]
    squares = [0.25, 1, 0.04, 0, 0.64]  # nothing of what happens on the floor
    ratios = squared_ratios(curves)
    assert ratios.factor() == pytest.approx(math.sqrt(np.mean(squares)), rel=1e-12)
    expected = np.std(squares) / math.sqrt(5) / np.mean(squares) / -math.log(np.mean(squares))
    assert ratios.rate_error() == pytest.approx(expected, rel=1e-12)
    assert math.isnan(SquaredRatios().factor())


def test_differences_of_zeros_and_infinities() -> None:
    assert difference_percent(0.9, 0.8) == pytest.approx(12.5)
    assert difference_percent(0, 0) == 0
    assert difference_percent(rate(0), rate(0)) == 0
    assert difference_percent(0.1, 0) == math.inf
    assert rate(0.5) == pytest.approx(math.log(2))
    assert math.isnan(rate(math.nan))
