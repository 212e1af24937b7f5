"""Rounds of gossip at 1 to 64 ranks, simulated in one process: against sums over all links."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from algorithms.exchange.rounds import (
    Routes,
    Weights,
    along_links,
    between_workers,
    schedule_of,
    to_links,
)
from algorithms.topologies.exponential import Exponential
from algorithms.topologies.mixing import MIXINGS
from algorithms.topologies.protocol import Links
from algorithms.topologies.random_regular import RandomRegular
from algorithms.topologies.ring import Ring
from algorithms.topologies.star import Star
from algorithms.wire.placement import Placement
from tests.algorithms.collectives_by_hand import simulate
from tests.helpers import Array

RANKS = (1, 2, 3, 5, 8, 13, 64)
TOPOLOGIES = (Ring(), Exponential(), RandomRegular(), Star())
D = 3
F8 = np.dtype("float64")


def play(routes: Routes, ranks: int, rows: Array, out: Array, weights: Weights | None) -> Array:
    """Return the rows of all target slots after a round; check the counts of its messages.

    rows, out: of all source and target slots.
    """
    keep = routes.target_bounds is not routes.source_bounds  # slots of links
    plans, homes, arrays = [], [], []
    for r in range(ranks):
        plan, far, packed = schedule_of(routes, r, D, F8, weights, keep=keep)
        own = [
            x[b[r] : b[r + 1]]
            for x, b in ((rows, routes.source_bounds), (out, routes.target_bounds))
        ]
        home = np.concatenate([*own, np.full((far + packed, D), np.nan)])
        edges = np.cumsum([0, *map(len, own), far, packed])
        plans.append(plan)
        homes.append(home)
        arrays.append([home[a:b] for a, b in pairwise(edges.tolist())])
    simulate(plans, homes, arrays=arrays)
    sender, receiver = (
        np.searchsorted(bounds, slots, side="right") - 1
        for bounds, slots in (
            (routes.source_bounds, routes.source),
            (routes.target_bounds, routes.target),
        )
    )
    far_links = sender != receiver
    pairs = set(zip(sender[far_links], receiver[far_links], strict=True))
    crossing = set(zip(routes.source[far_links], receiver[far_links], strict=True))
    assert sum(x.messages() for x in plans) == len(pairs)
    assert sum(x.elements() for x in plans) == len(crossing)  # a row crosses once to each rank
    assert sum(x.copied for x in plans) == (~far_links).sum()
    return np.concatenate([each[1] for each in arrays])


def cases(ranks: int) -> list[tuple[Placement, Links]]:
    """Return links between as many workers as ranks and between more, also with absentees."""
    more = Placement.dealt(3 * ranks + 1, ranks)
    rng = np.random.default_rng(ranks)
    if ranks > 13:
        return [(more, Exponential().links(more.total, 1, rng))]
    placements = [Placement.dealt(ranks, ranks), more, more.without([0])]
    return [(x, topology.links(x.total, 1, rng)) for x in placements for topology in TOPOLOGIES]


@pytest.mark.parametrize("ranks", RANKS)
def test_pulls_and_mixes_equal_their_matrices(ranks: int) -> None:
    for placement, graph in cases(ranks):
        rows = np.random.default_rng(1).standard_normal((graph.total, D))
        A = np.zeros((graph.total, graph.total))
        A[graph.target, graph.source] = 1
        routes, blank = between_workers(graph, placement), np.full_like(rows, np.nan)
        pulled = play(routes, ranks, rows, blank, None)
        np.testing.assert_allclose(pulled, A @ rows, atol=1e-13)  # float64, up to 200 rows
        for rule in ("uniform", "lazy"):
            P = MIXINGS[rule](graph)
            mixed = play(routes, ranks, rows, blank, Weights(P.own, P.weight, F8))
            np.testing.assert_allclose(mixed, P.matrix() @ rows, atol=1e-13)


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("routes_of", [to_links, along_links])
def test_deliveries_reach_the_slots_of_their_links(
    ranks: int, routes_of: Callable[[Links, Placement], Routes]
) -> None:
    for placement, graph in cases(ranks):
        routes = routes_of(graph, placement)
        rows = np.arange(D * routes.source_bounds[-1], dtype=float).reshape(-1, D)
        out = np.full((len(routes.target), D), -1.0)
        arrived = np.arange(len(routes.target)) % 3 > 0  # the others are lost, and their slots stay
        result = play(routes.only(arrived), ranks, rows, out, None)
        expected = out.copy()
        expected[routes.target[arrived]] = rows[routes.source[arrived]]
        np.testing.assert_array_equal(result, expected)
