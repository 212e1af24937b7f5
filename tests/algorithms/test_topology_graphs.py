"""Graphs of each topology: neighbours, random draws, and second eigenvalues in closed form."""

import numpy as np
import pytest

from algorithms.topologies import TOPOLOGIES
from algorithms.topologies.bipartite import Bipartite
from algorithms.topologies.chain import Chain
from algorithms.topologies.complete import Complete
from algorithms.topologies.epidemic import Epidemic
from algorithms.topologies.erdos_renyi import ErdosRenyi, distinct
from algorithms.topologies.exponential import Exponential
from algorithms.topologies.hypercube import Hypercube
from algorithms.topologies.protocol import Links, Topology, hops, sides
from algorithms.topologies.random_pair import RandomPair
from algorithms.topologies.random_regular import RandomRegular, switch
from algorithms.topologies.ring import Ring
from algorithms.topologies.star import Star
from algorithms.topologies.static_exponential import StaticExponential
from algorithms.topologies.torus import Torus
from tests.helpers import Array


def links_of(topology: Topology, total: int, k: int = 0) -> Links:
    return topology.links(total, k, np.random.default_rng((1, k)))


def same(one: Links, other: Links) -> bool:
    return np.array_equal(one.source, other.source) and np.array_equal(one.target, other.target)


def product(topology: Topology, total: int) -> Array:
    P = np.eye(total)
    for k in range(topology.period(total) or 1):
        P = links_of(topology, total, k).mixing_matrix() @ P
    return P


def second(topology: Topology, total: int) -> float:
    P = links_of(topology, total).mixing_matrix()
    return float(np.sort(np.abs(np.linalg.eigvals(P)))[-2])


def test_exponential_hops_are_powers_of_two() -> None:
    for k, hop in enumerate([1, 2, 4, 8, 1, 2]):
        assert links_of(Exponential(), 12, k).out_neighbours(7).tolist() == [(7 + hop) % 12]


def test_exponential_with_several_peers_rotates_the_hops() -> None:
    two = [links_of(Exponential(peers=2), 16, k).out_neighbours(3).tolist() for k in range(3)]
    assert two == [[4, 5], [7, 11], [4, 5]]
    three = [links_of(Exponential(peers=3), 16, k).out_neighbours(0).tolist() for k in range(4)]
    assert three == [[1, 2, 4], [1, 2, 8], [1, 4, 8], [2, 4, 8]]
    assert [Exponential(peers=p).period(16) for p in (1, 2, 3, 4, 9)] == [4, 2, 4, 1, 4]
    assert same(links_of(Exponential(peers=50), 12), links_of(StaticExponential(), 12))
    assert Exponential(peers=50).size(12) == len(links_of(StaticExponential(), 12).source)


def test_periods_average_exactly_only_at_powers_of_two() -> None:
    """The maximum errors after a period of the one-peer exponential graph are known."""
    for total, error in {4: 0, 8: 0, 16: 0, 5: 0.075, 6: 0.083, 12: 0.042}.items():
        P = product(Exponential(), total)
        assert np.abs(P - 1 / total).max() == pytest.approx(error, abs=6e-4)
    for total in (2, 4, 8, 16, 32):
        np.testing.assert_allclose(product(Bipartite(), total), 1 / total, atol=1e-15)
    for total in (6, 7, 12):
        assert np.abs(product(Bipartite(), total) - 1 / total).max() > 0.01


def test_bipartite_matches_even_with_odd() -> None:
    for total in (2, 5, 8, 13, 16):
        matchings = set()
        for k in range(hops(total)):
            links = links_of(Bipartite(), total, k)
            assert ((links.source + links.target) % 2 == 1).all()
            assert links.out_degree.max() == 1
            assert len(links.source) == total // 2 * 2
            matchings.add(tuple(links.source.tolist()))
        assert len(matchings) > 1 or total == 2, "rounds must differ"
    partners = [links_of(Bipartite(), 16, k).out_neighbours(4).tolist() for k in range(4)]
    assert partners == [[5], [7], [11], [(4 + 15) % 16]]


def test_hypercube_neighbours_differ_in_one_bit() -> None:
    for total in (1, 2, 6, 16, 33):
        links = links_of(Hypercube(), total)
        pairs = {(i, j) for i in range(total) for j in range(total) if (i ^ j).bit_count() == 1}
        assert set(zip(links.source.tolist(), links.target.tolist(), strict=True)) == pairs


def test_binary_tree_is_a_heap() -> None:
    tree = links_of(TOPOLOGIES["binary_tree"](), 7)
    assert tree.out_neighbours(1).tolist() == [0, 3, 4]
    assert tree.out_neighbours(6).tolist() == [2]
    for name in ("binary_tree", "chain", "star"):
        for total in (1, 2, 9):
            assert len(links_of(TOPOLOGIES[name](), total).source) == 2 * (total - 1), "a tree"


def test_second_eigenvalues_equal_closed_forms() -> None:
    """Values of uniform mixing from papers and reference tables."""
    for m in range(1, 7):
        assert 1 - second(Hypercube(), 2**m) == pytest.approx(2 / (m + 1), abs=1e-12)
    for total in (3, 5, 8, 16):
        ring = (1 + 2 * np.cos(2 * np.pi / total)) / 3
        assert second(Ring(), total) == pytest.approx(ring, abs=1e-12)
    for total in (4, 6, 8, 12, 16, 64):
        gap = 2 / (1 + np.ceil(np.log2(total)))
        assert 1 - second(StaticExponential(), total) == pytest.approx(gap, abs=1e-12)
    for total in (9, 12, 16, 20, 36):  # both sides >= 3
        torus = (3 + 2 * np.cos(2 * np.pi / max(sides(total)))) / 5
        assert second(Torus(), total) == pytest.approx(torus, abs=1e-12)
    assert second(Star(), 16) == pytest.approx(1 / 2, abs=1e-12)


SHAPES = {1: (1, 1), 2: (1, 2), 4: (2, 2), 6: (2, 3), 7: (1, 7), 12: (3, 4), 14: (2, 7)}
SHAPES |= {16: (4, 4), 30: (5, 6), 36: (6, 6), 64: (8, 8), 97: (1, 97), 98: (7, 14)}


def test_torus_is_a_nearly_square_grid() -> None:
    for total, shape in SHAPES.items():
        assert sides(total) == shape
        links = links_of(Torus(), total)
        degree = sum(min(side - 1, 2) for side in shape)  # a side of two has one neighbour
        assert links.out_degree.tolist() == links.in_degree.tolist() == [degree] * total
        assert len(links.source) == Torus().size(total)
    links = links_of(Torus(), 12)  # 3 rows of 4
    assert links.out_neighbours(0).tolist() == [1, 3, 4, 8]
    assert links.out_neighbours(6).tolist() == [2, 5, 7, 10]
    for prime in (2, 3, 5, 31):
        assert same(links_of(Torus(), prime), links_of(Ring(), prime))


def test_random_pairs_are_a_matching() -> None:
    for total in (2, 5, 12):
        matchings = set()
        for k in range(30):
            links = links_of(RandomPair(), total, k)
            assert (links.in_degree == links.out_degree).all()
            assert links.in_degree.sum() == total // 2 * 2
            assert (links.in_degree <= 1).all()
            matchings.add(tuple(links.source.tolist()))
        assert len(matchings) > 1 or total == 2


def test_star_is_irregular_and_complete_averages_at_once() -> None:
    star = links_of(Star(), 6)
    assert star.out_degree.tolist() == [5, 1, 1, 1, 1, 1]
    assert not np.allclose(star.mixing_matrix().sum(1), 1), "push-sum weights must change"
    np.testing.assert_allclose(links_of(Complete(), 6).mixing_matrix(), 1 / 6)


def test_epidemic_draws_receivers_uniformly() -> None:
    draws, total, s = 6000, 5, 2
    sets: dict[tuple[int, ...], int] = {}
    for k in range(draws // total):
        links = links_of(Epidemic(s=s), total, k)
        assert (links.out_degree == s).all()
        for i in range(total):
            offsets = tuple(((links.out_neighbours(i) - i) % total).tolist())
            sets[tuple(sorted(offsets))] = sets.get(tuple(sorted(offsets)), 0) + 1
    assert len(sets) == 6
    # binomial: 1,000 expected of each; five standard deviations of 29
    assert all(abs(count - draws / 6) < 150 for count in sets.values()), sets
    assert same(links_of(Epidemic(s=9), 6), links_of(Complete(), 6)), "all workers"


def test_erdos_renyi_links_every_pair_with_equal_probability() -> None:
    total, draws, p = 8, 1500, 0.4
    frequency = np.zeros((total, total))
    for seed in range(draws):
        links = links_of(ErdosRenyi(p=p, seed=seed), total)
        np.add.at(frequency, (links.target, links.source), 1 / draws)
    upper_entries = frequency[np.triu_indices(total, 1)]
    # standard deviation of an entry 0.013; links that join components raise some entries
    assert abs(np.median(upper_entries) - p) < 0.03
    assert upper_entries.min() > p - 0.065
    assert upper_entries.max() < p + 0.12
    for total in (1, 2, 9):
        assert same(links_of(ErdosRenyi(p=0), total), links_of(Chain(), total)), (
            "components in a chain"
        )
        assert same(links_of(ErdosRenyi(p=1), total), links_of(Complete(), total))


def test_erdos_renyi_is_connected_at_its_default_density() -> None:
    """The expected number of isolated workers is 1/W for p = 2 ln W / W."""
    added_links = 0
    for seed in range(20):
        links, topology = links_of(ErdosRenyi(seed=seed), 200), ErdosRenyi(seed=seed)
        drawn = (topology.size(200) - 2 * 199) // 2
        added_links += len(links.source) // 2 - drawn
        assert links.reached(0).all()
    assert added_links <= 3, "links that had to be added to 20 graphs"


def test_distinct_draws_the_requested_count() -> None:
    rng = np.random.default_rng(0)
    for below, count in ((1, 1), (5, 0), (9, 4), (9, 7), (10**12, 100), (0, 0)):
        numbers = distinct(rng, below, count)
        assert len(numbers) == count
        assert (np.diff(numbers) > 0).all()
        assert ((numbers >= 0) & (numbers < below)).all()


def test_random_regular_has_k_neighbours_and_is_connected() -> None:
    for k in (2, 3, 4, 5, 8):
        for total in (1, 2, 3, 4, 5, 6, 9, 12, 17, 40):
            links = links_of(RandomRegular(k=k, seed=1), total)
            most = min(k, total - 1)
            missing_links = most - links.out_degree
            assert missing_links.tolist().count(0) >= total - 1
            assert missing_links.sum() == most * total % 2, (
                "one worker has one link less if k W is odd"
            )
            assert links.reached(0).all()
    assert same(links_of(RandomRegular(k=9), 6), links_of(Complete(), 6))


def test_switches_keep_degrees_and_reach_every_matching() -> None:
    results = set()
    for seed in range(40):
        edges = [(0, 1), (2, 3)]
        switch(edges, [], np.random.default_rng(seed))
        results.add(frozenset(map(frozenset, edges)))
    assert len(results) == 3
    edges = [(0, 1), (2, 3)]
    switch(edges, [(0, 2), (0, 3)], np.random.default_rng(0))
    assert edges == [(0, 1), (2, 3)], "every switch would duplicate a link"


def test_random_regular_is_uniform_and_reaches_every_graph() -> None:
    total, k, draws = 6, 3, 1500
    frequency, triangles = np.zeros((total, total)), set()
    for seed in range(draws):
        links = links_of(RandomRegular(k=k, seed=seed), total)
        A = np.zeros((total, total))
        A[links.target, links.source] = 1
        frequency += A / draws
        triangles.add(round(np.trace(A @ A @ A) / 6))
    off_diagonal = frequency[~np.eye(total, dtype=bool)]
    # five standard deviations of 0.013
    assert abs(off_diagonal - k / (total - 1)).max() < 0.065
    assert triangles == {0, 2}, "K_3,3 and the prism are all cubic graphs of six nodes"
