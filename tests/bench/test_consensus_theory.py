"""Contraction factors: theory against dense eigenvalues and draws, fits of synthetic curves."""

import json
import math
import re

import numpy as np
import pytest

from algorithms.topologies import theory
from algorithms.topologies.epidemic import Epidemic
from algorithms.topologies.erdos_renyi import ErdosRenyi
from algorithms.topologies.exponential import Exponential
from algorithms.topologies.mixing import MIXINGS, Mixing, default_topologies
from algorithms.topologies.protocol import Topology
from algorithms.topologies.random_pair import RandomPair
from algorithms.topologies.random_regular import RandomRegular
from algorithms.topologies.theory import (
    contraction,
    drawn_mean_square,
    mean_square,
    power_iteration,
    spectral_gap,
    spectral_radius,
)
from bench.list import gaps, main
from bench.results.convergence import (
    FLOOR,
    SquaredRatios,
    bend,
    difference_percent,
    exact_after,
    rate,
    squared_ratios,
    tail,
    tail_factor,
)
from bench.results.rounds import Curve

TOPOLOGIES = default_topologies()
PERIODIC = {name: x for name, x in TOPOLOGIES.items() if x.period(8)} | {
    "exponential:peers=2": Exponential(peers=2),
    "erdos_renyi:p=0.9": ErdosRenyi(p=0.9),
    "random_regular:k=7": RandomRegular(k=7, seed=2),
}
TOTALS = [1, 2, 3, 4, 5, 6, 7, 12, 16, 33, 36, 64]


def rounds(topology: Topology, total: int, rule: str = "uniform", seed: int = 0) -> list[Mixing]:
    links = (
        topology.links(total, k, np.random.default_rng((seed, k)))
        for k in range(topology.period(total) or 1)
    )
    return [MIXINGS[rule](each) for each in links]


def dense_radius(period: list[Mixing]) -> float:
    """Return the spectral radius of the product of a period, without the eigenvalue 1."""
    product = np.eye(period[0].links.total)
    for mixing in period:
        product = mixing.matrix() @ product
    values, vectors = np.linalg.eig(product)
    one = np.argmin(np.abs(values - 1))
    limit = np.outer(vectors[:, one], np.ones(len(values))) / vectors[:, one].sum()
    return float(np.abs(np.linalg.eigvals(product - limit)).max())


@pytest.mark.parametrize("name", PERIODIC)
def test_factors_equal_those_of_dense_matrices(name: str) -> None:
    topology = PERIODIC[name]
    for total in TOTALS:
        period = topology.period(total)
        assert period is not None
        for rule in MIXINGS:
            if "metropolis" in rule and not rounds(topology, total)[0].links.symmetric:
                continue
            factor = contraction(topology, total, rule)
            assert spectral_gap(topology, rule, total) == 1 - factor
            # before the root, since rounding moves a defective zero of a product of T by eps^(1/T)
            dense = dense_radius(rounds(topology, total, rule))
            assert factor**period == pytest.approx(dense, abs=1e-7), (total, rule)


CLOSED_FORMS = [
    (TOPOLOGIES["ring"], 16, (1 + 2 * math.cos(math.pi / 8)) / 3),
    (TOPOLOGIES["ring"], 10**5, (1 + 2 * math.cos(math.pi / 5e4)) / 3),
    (TOPOLOGIES["torus"], 36, (3 + 2 * math.cos(math.pi / 3)) / 5),
    (TOPOLOGIES["torus"], 4096, (3 + 2 * math.cos(math.pi / 32)) / 5),  # no dense matrix
    (TOPOLOGIES["static_exponential"], 64, 5 / 7),
    (TOPOLOGIES["hypercube"], 16, 1 - 2 / 5),
    (TOPOLOGIES["hypercube"], 4096, 1 - 2 / 13),
    (TOPOLOGIES["star"], 9, 1 / 2),
    (TOPOLOGIES["star"], 4096, 1 / 2),
    (TOPOLOGIES["exponential"], 16, 0),
    (TOPOLOGIES["bipartite"], 16, 0),
    (TOPOLOGIES["bipartite"], 4096, 0),
    (TOPOLOGIES["complete"], 7, 0),
    (TOPOLOGIES["random_pair"], 16, math.sqrt(7 / 15)),
    (TOPOLOGIES["random_pair"], 7, math.sqrt(1 / 2)),
    (TOPOLOGIES["random_pair"], 2, 0),
    (Epidemic(s=1), 3, math.sqrt(3 / 16)),  # 1/2 - (1 + 1/4) / 4
    (Epidemic(s=9), 7, 0),  # equals the complete graph
]


def test_factors_equal_closed_forms() -> None:
    for topology, total, expected in CLOSED_FORMS:
        factor = contraction(topology, total)
        assert factor == pytest.approx(expected, abs=1e-12), (topology, total)


def test_the_gap_of_a_long_chain_is_accurate() -> None:
    """The gap is 8e-7; 2,000 rounds of power iteration would estimate 1e-3."""
    gap = spectral_gap(TOPOLOGIES["chain"], "metropolis", 2048)
    assert gap == pytest.approx(2 / 3 * (1 - math.cos(math.pi / 2048)), rel=1e-5)


@pytest.mark.parametrize("name", ["random_pair", "epidemic", "epidemic:s=4"])
def test_mean_squares_equal_those_of_drawn_matrices(name: str) -> None:
    """Compare the formula, quick draws and the mean of 1,000 dense P^T P."""
    topology = Epidemic(s=4) if name == "epidemic:s=4" else TOPOLOGIES[name]
    for total in (2, 7):
        draws, mean = 1000, np.zeros((total, total))
        for k in range(draws):
            P = rounds(topology, total, seed=5 + k)[0].matrix()
            mean += P.T @ P / draws
        deviation = mean - mean.mean(0) - mean.mean(1)[:, None] + mean.mean()
        dense = np.linalg.eigvalsh(deviation)[-1]
        # errors: at most 0.5 / sqrt(draws) = 0.016 of an entry, a few times it of the eigenvalue
        assert mean_square(topology, total) == pytest.approx(dense, abs=0.05)
        # the mean of all eigenvalues has a much smaller error
        quick = drawn_mean_square(topology, total, "uniform")
        assert quick == pytest.approx(mean_square(topology, total), abs=3e-3)


def test_mean_squares_of_other_rules_are_estimated_by_draws() -> None:
    """P^T P of lazy mixing is (I + P + P^T + P^T P) / 4, and P^T P = P = P^T for a matching."""
    for total in (6, 7):
        pairs = mean_square(TOPOLOGIES["random_pair"], total)
        lazy = mean_square(TOPOLOGIES["random_pair"], total, "lazy")
        assert lazy == pytest.approx((1 + 3 * pairs) / 4, abs=3e-3)
    gap = spectral_gap(TOPOLOGIES["random_pair"], "metropolis", 8)
    assert gap == pytest.approx(spectral_gap(TOPOLOGIES["random_pair"], "uniform", 8), abs=3e-3)

    class Unknown(RandomPair):
        pass

    assert mean_square(Unknown(), 8) == pytest.approx(mean_square(RandomPair(), 8), abs=3e-3)
    for name in ("random_pair", "ring"):
        with pytest.raises(ValueError, match=r"mixing must be one of uniform, .* got 'even'"):
            spectral_gap(TOPOLOGIES[name], "even", 8)


def test_power_iteration_agrees_with_dense_eigenvalues(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, total in (("star", 9), ("torus", 12), ("exponential", 6)):
        period = rounds(TOPOLOGIES[name], total)
        assert power_iteration(period) == pytest.approx(dense_radius(period), rel=1e-3)
    assert power_iteration(rounds(TOPOLOGIES["complete"], 8)) == 0
    odd_period = rounds(TOPOLOGIES["bipartite"], 21)
    dense = spectral_radius(odd_period)
    monkeypatch.setattr(theory, "DENSE", 10)
    assert spectral_radius(odd_period) == pytest.approx(dense, rel=1e-3)


def test_list_shows_the_gaps_at_any_number_of_workers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", "--workers", "12"]) == 0
    entries = {x["name"]: x for x in json.loads(capsys.readouterr().out)["topologies"]}
    for name, topology in TOPOLOGIES.items():
        gap = spectral_gap(topology, "uniform", 12)
        assert (entries[name]["workers"], entries[name]["spectral_gap"]) == (12, gap)
    assert entries["file"]["spectral_gap"] is None
    assert main([]) == 0
    out = capsys.readouterr().out
    assert "among 16 workers" in out
    assert re.search(r"^  hypercube +0\.4 +Workers whose", out, re.MULTILINE)
    assert re.search(r"^  file +- +The links", out, re.MULTILINE)
    assert gaps(2000)["complete"] is None
    assert main(["--workers", "0"]) == 2
    assert "--workers must be >= 1, got 0" in capsys.readouterr().err


def geometric(*factors: float, n: int) -> Curve:
    """Return the mean of geometric decays, which starts at 1."""
    k = np.arange(1, n + 1)
    curve: Curve = np.mean([factor**k for factor in factors], axis=0)
    return curve


def test_the_fit_of_a_geometric_curve_is_exact() -> None:
    for factor in (0.01, 0.6, 0.97, 0.9999):
        n = min(2000, int(-23 / math.log(factor)))
        assert tail_factor(geometric(factor, n=n), 1) == pytest.approx(factor, rel=1e-12)
        assert bend(geometric(factor, n=n), 1) < 1e-9


def test_the_fit_gives_the_slowest_mode() -> None:
    assert tail_factor(geometric(0.9, 0.7, n=200), 1) == pytest.approx(0.9, rel=1e-5)
    k, _ = tail(geometric(0.9, n=200), 1)
    assert (k[0], k[-1]) == (100, 200)


def test_a_truncated_curve_bends() -> None:
    curve = geometric(0.999, 0.9, n=20)
    assert tail_factor(curve, 1) < 0.99
    assert bend(curve, 1) > 0.05


def test_periodic_curves_are_fitted_over_whole_periods() -> None:
    """The error shrinks by 8 in every third round, so the factor is 1/2 for any last phase."""
    for n in (30, 31, 32):
        curve: Curve = np.power(8.0, -(np.arange(1, n + 1) // 3))
        assert tail_factor(curve, 3) == pytest.approx(0.5, rel=1e-12)


def test_the_fit_excludes_the_rounding_floor() -> None:
    curve = np.maximum(geometric(0.5, n=100), 3e-16)
    assert tail_factor(curve, 1) == pytest.approx(0.5, rel=1e-9)
    assert tail(curve, 1)[1].min() > FLOOR


def test_exact_agreement_differs_from_a_truncated_curve() -> None:
    exact = np.array([0.7, 0.5, 2e-16])
    assert (tail_factor(exact, 3), exact_after(exact)) == (0, 3)
    short = np.array([0.7, 0.5])
    assert math.isnan(tail_factor(short, 3))
    assert exact_after(short) == 0


def test_squared_ratios_are_averaged_over_all_rounds_of_the_redraws() -> None:
    curves = [np.array([0.5, 0.5, 0.1]), np.array([1e-17, 1e-17]), np.array([0.8, 0.4])]
    squares = [0, 0.64, 0.25]  # without the floor and the first curve
    ratios = squared_ratios(curves)
    assert ratios.factor() == pytest.approx(math.sqrt(np.mean(squares)), rel=1e-12)
    expected = np.std(squares) / math.sqrt(3) / np.mean(squares) / -math.log(np.mean(squares))
    assert ratios.rate_error() == pytest.approx(expected, rel=1e-12)
    alone = squared_ratios(curves[:1]).factor()
    assert alone == pytest.approx(math.sqrt((0.25 + 1 + 0.04) / 3), rel=1e-12)
    assert math.isnan(SquaredRatios().factor())


def test_differences_of_zeros_and_infinities_are_defined() -> None:
    assert difference_percent(0.9, 0.8) == pytest.approx(12.5)
    assert difference_percent(0, 0) == 0
    assert difference_percent(rate(0), rate(0)) == 0
    assert difference_percent(0.1, 0) == math.inf
    assert rate(0.5) == pytest.approx(math.log(2))
    assert math.isnan(rate(math.nan))
