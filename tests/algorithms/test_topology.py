"""Topologies: who sends to whom, and what that means for agreement."""

import numpy as np
import pytest

from algorithms.topology import (
    MOST_LINKS,
    TOPOLOGIES,
    Complete,
    Exponential,
    Links,
    Ring,
    Torus,
    check,
    sides,
)
from algorithms.topology import StaticExponential as Static
from algorithms.topology import links as links_of
from tests.helpers import Array

TOTALS = [1, 2, 3, 4, 5, 6, 7, 12, 16, 33]


def rounds(name: str, total: int, count: int) -> list[Links]:
    topology = TOPOLOGIES[name]()
    return [topology.links(total, k, np.random.default_rng((1, k))) for k in range(count)]


@pytest.mark.parametrize("name", TOPOLOGIES)
@pytest.mark.parametrize("total", TOTALS)
def test_contract(name: str, total: int) -> None:
    topology = TOPOLOGIES[name]()
    for links in rounds(name, total, 5):
        assert len(links.source) <= topology.size(total)
        assert (links.source != links.target).all()
        pairs = list(zip(links.target.tolist(), links.source.tolist(), strict=True))
        assert pairs == sorted(set(pairs)), "sorted by receiver, then sender; no doubles"
        assert links.out_degree.sum() == links.in_degree.sum() == len(pairs)
        np.testing.assert_allclose(links.mixing_matrix().sum(0), 1, atol=1e-15)
        for worker in range(total):
            assert links.out_degree[worker] == len(links.out_neighbours(worker))


@pytest.mark.parametrize("name", TOPOLOGIES)
@pytest.mark.parametrize("total", TOTALS)
def test_everybody_reaches_everybody(name: str, total: int) -> None:
    count = TOPOLOGIES[name]().period(total) or 40 * total.bit_length()
    reach = np.eye(total)
    sweeps = {"ring": total, "torus": total, "star": 2, "static_exponential": total.bit_length()}
    for links in rounds(name, total, count) * sweeps.get(name, 1):
        reach = links.mixing_matrix() @ reach
    assert (reach > 0).all()


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_period_is_true(name: str) -> None:
    for total in TOTALS:
        period = TOPOLOGIES[name]().period(total)
        if period is not None:
            first, *_, again = rounds(name, total, period + 1)
            np.testing.assert_array_equal(first.source, again.source)
            np.testing.assert_array_equal(first.target, again.target)


def test_exponential_sends_two_to_the_k_hops_ahead() -> None:
    for k, hop in enumerate([1, 2, 4, 8, 1, 2]):
        links = Exponential().links(12, k, np.random.default_rng())
        assert links.out_neighbours(7).tolist() == [(7 + hop) % 12]


@pytest.mark.parametrize(
    ("total", "error"), [(4, 0), (8, 0), (16, 0), (5, 0.075), (6, 0.083), (12, 0.042)]
)
def test_exponential_averages_exactly_only_at_powers_of_two(total: int, error: float) -> None:
    product = np.eye(total)
    for links in rounds("exponential", total, Exponential().period(total)):
        product = links.mixing_matrix() @ product
    assert np.abs(product - 1 / total).max() == pytest.approx(error, abs=6e-4)


def second(P: Array) -> float:
    return float(np.sort(np.abs(np.linalg.eigvals(P)))[-2])


@pytest.mark.parametrize("total", [4, 6, 8, 12, 16, 64])
def test_spectral_gap_of_the_static_exponential_graph(total: int) -> None:
    P = Static().links(total, 0, np.random.default_rng()).mixing_matrix()
    assert 1 - second(P) == pytest.approx(2 / (1 + np.ceil(np.log2(total))), abs=1e-12)


@pytest.mark.parametrize("total", [3, 5, 8, 16])
def test_second_eigenvalue_of_the_ring(total: int) -> None:
    P = Ring().links(total, 0, np.random.default_rng()).mixing_matrix()
    assert second(P) == pytest.approx((1 + 2 * np.cos(2 * np.pi / total)) / 3, abs=1e-12)


SHAPES = {1: (1, 1), 2: (1, 2), 4: (2, 2), 6: (2, 3), 7: (1, 7), 12: (3, 4), 14: (2, 7)}
SHAPES |= {16: (4, 4), 30: (5, 6), 36: (6, 6), 64: (8, 8), 97: (1, 97), 98: (7, 14)}


@pytest.mark.parametrize(("total", "shape"), SHAPES.items())
def test_torus_is_a_grid_as_square_as_it_goes(total: int, shape: tuple[int, int]) -> None:
    assert sides(total) == shape
    links = Torus().links(total, 0, np.random.default_rng())
    degree = sum(min(side - 1, 2) for side in shape)  # a side of two has one neighbour, of one none
    assert links.out_degree.tolist() == links.in_degree.tolist() == [degree] * total
    assert len(links.source) == Torus().size(total)
    P = links.mixing_matrix()
    np.testing.assert_array_equal(P, P.T)
    assert (np.linalg.matrix_power(P, sum(shape)) > 0).all(), "connected, a + b hops at most"


def test_torus_sends_to_the_four_beside() -> None:
    links = Torus().links(12, 0, np.random.default_rng())  # 3 rows of 4
    assert links.out_neighbours(0).tolist() == [1, 3, 4, 8]
    assert links.out_neighbours(6).tolist() == [2, 5, 7, 10]


@pytest.mark.parametrize("total", [9, 12, 16, 20, 36, 64])
def test_second_eigenvalue_of_the_torus(total: int) -> None:
    P = Torus().links(total, 0, np.random.default_rng()).mixing_matrix()
    expected = (3 + 2 * np.cos(2 * np.pi / max(sides(total)))) / 5  # both sides >= 3
    assert second(P) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("total", [2, 3, 5, 7, 31])
def test_a_torus_of_a_prime_is_the_ring(total: int) -> None:
    torus, ring = (x.links(total, 0, np.random.default_rng()) for x in (Torus(), Ring()))
    np.testing.assert_array_equal(torus.source, ring.source)
    np.testing.assert_array_equal(torus.target, ring.target)


@pytest.mark.parametrize("total", [2, 5, 12])
def test_random_pairs_are_a_matching(total: int) -> None:
    seen = set()
    for links in rounds("random_pair", total, 30):
        assert (links.in_degree == links.out_degree).all()
        assert links.in_degree.sum() == total // 2 * 2
        assert (links.in_degree <= 1).all()
        partner = dict(zip(links.source.tolist(), links.target.tolist(), strict=True))
        assert all(partner[partner[i]] == i for i in partner)
        seen.add(tuple(links.source.tolist()))
    assert len(seen) > 1 or total == 2


def test_star_is_irregular_and_complete_averages_at_once() -> None:
    star = rounds("star", 6, 1)[0]
    assert star.out_degree.tolist() == [5, 1, 1, 1, 1, 1]
    assert not np.allclose(star.mixing_matrix().sum(1), 1), "push-sum weights must move"
    np.testing.assert_allclose(rounds("complete", 6, 1)[0].mixing_matrix(), 1 / 6)


def test_self_links_and_doubles_are_dropped() -> None:
    links = links_of(3, np.array([0, 0, 1, 2]), np.array([1, 1, 1, 0]))
    assert (links.source.tolist(), links.target.tolist()) == ([2, 0], [0, 1])


def test_a_topology_too_dense_is_refused_with_the_way_out() -> None:
    check(Complete(), 4096)
    with pytest.raises(ValueError, match=r"Complete at 8,192 workers is 67,\d+,\d+ messages.*expo"):
        check(Complete(), 8192)
    assert Complete().size(8192) > MOST_LINKS
    check(Ring(), 2**20)
