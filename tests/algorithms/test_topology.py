"""Contract of every topology, at many numbers of workers."""

import numpy as np
import pytest

from algorithms.topologies import TOPOLOGIES
from algorithms.topologies.mixing import MOST_LINKS, check, default_topologies
from algorithms.topologies.protocol import Links, Topology
from algorithms.topologies.protocol import links as links_of
from algorithms.topologies.ring import Ring
from bench.common.spec import parse_spec
from tests.helpers import Array

TOTALS = [*range(1, 34), 37, 61, 97]
"""Numbers of workers: all up to 33, and primes."""

OPTIONS = (
    "exponential:peers=2",
    "exponential:peers=3",
    "exponential:peers=50",
    "erdos_renyi:p=0",
    "erdos_renyi:p=0.3,seed=1",
    "erdos_renyi:p=0.9",
    "random_regular:k=2",
    "random_regular:k=3,seed=1",
    "random_regular:k=7",
    "epidemic:s=1",
    "epidemic:s=40",
)
CASES: dict[str, Topology] = default_topologies() | {
    text: parse_spec(text, TOPOLOGIES, "topology") for text in OPTIONS
}
DIRECTED = ("exponential", "static_exponential", "epidemic")
"""Names of the directed topologies; all other graphs are symmetric."""


def rounds(topology: Topology, total: int, count: int) -> list[Links]:
    return [topology.links(total, k, np.random.default_rng((1, k))) for k in range(count)]


@pytest.mark.parametrize("name", CASES)
def test_links_are_sorted_unique_and_within_bounds(name: str) -> None:
    topology = CASES[name]
    for total in TOTALS:
        for links in rounds(topology, total, 5):
            assert links.total == total
            assert len(links.source) <= topology.size(total)
            assert (links.source != links.target).all()
            assert ((links.source >= 0) & (links.source < total)).all()
            keys = links.target * total + links.source
            assert (np.diff(keys) > 0).all(), "sorted by receiver, then sender, without duplicates"
            assert keys.size == 0 or 0 <= keys[0] <= keys[-1] < total * total
            assert links.out_degree.sum() == links.in_degree.sum() == len(keys)
            for worker in range(0, total, 5):
                assert links.out_degree[worker] == len(links.out_neighbours(worker))
            reversed_keys = np.sort(links.source * total + links.target)
            assert links.symmetric == np.array_equal(keys, reversed_keys)
            assert links.symmetric or name.startswith(DIRECTED)


@pytest.mark.parametrize("name", CASES)
def test_every_worker_reaches_every_worker(name: str) -> None:
    for total in TOTALS:
        period = CASES[name].period(total)
        reach, k = np.eye(total, dtype=bool), 0
        while not reach.all() and k < (period * total if period else 12 * total.bit_length()):
            links = CASES[name].links(total, k, np.random.default_rng((1, k)))
            arrivals = np.zeros_like(reach)
            np.logical_or.at(arrivals, links.target, reach[links.source])
            reach |= arrivals
            k += 1
        assert reach.all(), total


@pytest.mark.parametrize("name", CASES)
def test_links_repeat_after_the_period(name: str) -> None:
    for total in TOTALS:
        period = CASES[name].period(total)
        if period is None:
            first, again = rounds(CASES[name], 9, 2)
            assert len(first.source) == 72 or not np.array_equal(first.source, again.source)
            return
        turn = rounds(CASES[name], total, 2 * period)
        for first, again in zip(turn[:period], turn[period:], strict=True):
            np.testing.assert_array_equal(first.source, again.source)
            np.testing.assert_array_equal(first.target, again.target)


def test_links_are_sorted_without_self_links_and_duplicates() -> None:
    links = links_of(3, np.array([0, 0, 1, 2]), np.array([1, 1, 1, 0]))
    assert (links.source.tolist(), links.target.tolist()) == ([2, 0], [0, 1])
    assert not links.symmetric
    assert links.reached(2).tolist() == [True, True, True]
    assert links.reached(1).tolist() == [False, True, False]


def test_reverse_is_the_opposite_link() -> None:
    links = TOPOLOGIES["binary_tree"]().links(9, 0, np.random.default_rng())
    np.testing.assert_array_equal(links.source[links.reverse], links.target)
    np.testing.assert_array_equal(links.target[links.reverse], links.source)


def test_too_dense_topologies_are_refused_with_an_alternative() -> None:
    complete = TOPOLOGIES["complete"]()
    check(complete, 4096)
    with pytest.raises(ValueError, match=r"complete at 8,192 workers is 67,\d+,\d+ messages.*expo"):
        check(complete, 8192)
    assert complete.size(8192) > MOST_LINKS
    check(Ring(), 2**20)


MISTAKES = {
    "exponential:peers=0": "peers must be >= 1, got 0",
    "epidemic:s=0": "s must be >= 1, got 0",
    "erdos_renyi:p=1.5": r"p must be in \[0, 1\], got 1.5",
    "erdos_renyi:p=nan": r"p must be in \[0, 1\], got nan",
    "erdos_renyi:seed=-1": "seed must be >= 0, got -1",
    "random_regular:k=1": "k must be >= 2, got 1: .* take random_pair",
    "random_regular:seed=-1": "seed must be >= 0, got -1",
    "file": "path must name a file of links, got none",
}


def test_invalid_options_are_refused() -> None:
    for text, rule in MISTAKES.items():
        name, _, option = text.partition(":")
        key, _, value = option.partition("=")
        kind = float if key == "p" else int
        arguments = {key: kind(value)} if key else {}
        with pytest.raises(ValueError, match=rule):
            TOPOLOGIES[name](**arguments)


def test_default_topologies_are_all_except_file() -> None:
    assert list(default_topologies()) == [name for name in TOPOLOGIES if name != "file"]


def test_thousands_of_workers_are_fast() -> None:
    """Without a time limit; a Python loop of W^2 steps would take minutes."""
    total, max_links = 4096, 2**18
    sparse = [x for x in CASES.values() if x.size(total) <= max_links]
    assert len(sparse) >= len(CASES) - 4
    for topology in sparse:
        links = rounds(topology, total, 1)[0]
        assert 0 < len(links.source) <= topology.size(total)
        assert topology.period(total) != 1 or links.reached(0).all()


def dense(links: Links) -> Array:
    """Return the adjacency matrix, (W, W): 1 if the column sends to the row."""
    A = np.zeros((links.total, links.total))
    A[links.target, links.source] = 1
    return A


def test_static_random_graphs_depend_on_their_seed_alone() -> None:
    for name in ("erdos_renyi", "random_regular"):
        graphs = [
            TOPOLOGIES[name](seed=seed).links(24, k, np.random.default_rng(k))  # type: ignore[call-arg]
            for k, seed in enumerate((0, 0, 1))
        ]
        assert graphs[0] is graphs[1], "drawn once and cached"
        assert (dense(graphs[0]) != dense(graphs[2])).any()
