"""Mixing matrices: rules for their weights, and requirements of algorithms on them.

Symbols: W workers, d_i the out-degree of worker i, P the mixing matrix, x <- P x a round. Columns
that sum to one keep the sum of x, rows that sum to one keep consensus; a symmetric P does both.

The rules:
uniform           P_ji = 1 / (1 + d_i): a sender splits evenly over itself and its out-neighbours
                  (Assran et al. 2019); column-stochastic on all links
metropolis        P_ij = 1 / (1 + max(d_i, d_j)), the rest stays: symmetric on links both ways
                  (Xiao, Boyd, Kim 2007)
lazy              (I + P) / 2 of uniform
lazy_metropolis   (I + P) / 2 of metropolis: symmetric, without an eigenvalue below 0
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from algorithms.topologies import TOPOLOGIES
from algorithms.topologies.protocol import Links, Topology
from algorithms.topologies.spectrum import extremes

Need = Literal["column_stochastic", "doubly_stochastic", "symmetric", "static", "tree", "spectrum"]
"""Requirement of an algorithm on its mixing matrix; see `require`."""

JUDGED = 4
"""Number of rounds of a random topology that `require` checks."""
EXACT = 1e-12
"""Tolerance of sums of weights, for rounding."""
EDGE = -1 / 3 + 1e-9
"""Least eigenvalue for exact diffusion, exclusive: -1/3 with a tolerance for rounding."""


@dataclass(frozen=True, eq=False)
class Mixing:
    """Mixing matrix of one round: x_i <- own[i] x_i + the sum of weight[e] x_source[e].

    The sum is over the links e into i.
    own: (W,) float64. weight: (E,) float64, in the order of the links.
    """

    links: Links
    own: NDArray[np.float64]
    weight: NDArray[np.float64]

    def matrix(self) -> NDArray[np.float64]:
        """Return P, (W, W) float64: P[i, j] is the weight of x_j in the new x_i."""
        P = np.diag(self.own)
        P[self.links.target, self.links.source] = self.weight
        return P

    def apply(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return P x, (W,) float64, for x, (W,) float64."""
        incoming = self.weight * x[self.links.source]
        return self.own * x + np.bincount(self.links.target, incoming, self.links.total)

    @property
    def columns(self) -> NDArray[np.float64]:
        """Column sums of P, (W,) float64."""
        return self.own + np.bincount(self.links.source, self.weight, self.links.total)

    @property
    def rows(self) -> NDArray[np.float64]:
        """Row sums of P, (W,) float64."""
        return self.own + np.bincount(self.links.target, self.weight, self.links.total)

    @property
    def symmetric(self) -> bool:
        """True if P equals its transpose, bit by bit."""
        links = self.links
        return links.symmetric and np.array_equal(self.weight[links.reverse], self.weight)


def uniform(links: Links) -> Mixing:
    """Return column-stochastic weights: senders split evenly over themselves and out-neighbours."""
    share = 1 / (1 + links.out_degree)
    return Mixing(links, share, share[links.source])


def metropolis(links: Links) -> Mixing:
    """Return symmetric weights 1 / (1 + max(d_i, d_j)).

    Errors: ValueError if a link goes one way only.
    """
    if not links.symmetric:
        raise ValueError(
            "metropolis needs links both ways, and some go one way only: take uniform weights, or "
            "a topology such as ring"
        )
    degree = links.out_degree
    weight = 1 / (1 + np.maximum(degree[links.source], degree[links.target]))
    own = np.ones(links.total) - np.bincount(links.target, weight, links.total)
    return Mixing(links, own, weight)


def lazy(rule: Callable[[Links], Mixing], links: Links) -> Mixing:
    """Return (I + P) / 2: every worker keeps half of its row."""
    whole = rule(links)
    return Mixing(links, (1 + whole.own) / 2, whole.weight / 2)


MIXINGS: dict[str, Callable[[Links], Mixing]] = {
    "uniform": uniform,
    "metropolis": metropolis,
    "lazy": partial(lazy, uniform),
    "lazy_metropolis": partial(lazy, metropolis),
}
"""Mixing rule by name."""


def mixing_rule(rule: str) -> Callable[[Links], Mixing]:
    """Return the rule of a name. Errors: ValueError for an unknown name."""
    if rule not in MIXINGS:
        raise ValueError(f"mixing must be one of {', '.join(MIXINGS)}, got {rule!r}")
    return MIXINGS[rule]


def mixings(topology: Topology, rule: str, total: int) -> list[Mixing]:
    """Return the mixing matrices of a period, or of the first rounds of a random topology.

    Errors: ValueError if the topology does not support W workers, or if the rule is unknown or does
    not support the links.
    """
    weights = mixing_rule(rule)
    check(topology, total)
    rounds = range(topology.period(total) or JUDGED)
    graphs = (topology.links(total, k, np.random.default_rng((0, k))) for k in rounds)
    return [weights(links) for links in graphs]


def require(topology: Topology, rule: str, total: int, need: Need) -> None:
    """Raise ValueError, with the reason and the way out, if a need is not met at W workers.

    column_stochastic   the sum over all workers is conserved
    doubly_stochastic   the sum and consensus are conserved: plain averaging keeps the mean
    symmetric           P is its own transpose
    static              the links are the same every round
    tree                static, both ways, connected, W - 1 edges
    spectrum            static, symmetric, and the smallest eigenvalue is above -1/3

    Of random topologies the first rounds are checked.
    """
    assert need in get_args(Need)
    if need == "tree":
        _require_tree(topology, total)
        return
    if need in ("static", "spectrum") and topology.period(total) != 1:
        raise ValueError(
            f"{topology_name(topology)} changes its links every round, and they must be "
            "static here: take a static topology such as ring or hypercube"
        )
    if need == "static":
        return
    try:
        matrices = mixings(topology, rule, total)
    except ValueError as error:
        raise ValueError(f"{topology_name(topology)} with mixing {rule}: {error}") from None
    for mixing in matrices:
        _require(mixing, need, f"{topology_name(topology)} with mixing {rule} at {total:,} workers")


def _require_tree(topology: Topology, total: int) -> None:
    require(topology, "uniform", total, "static")
    check(topology, total)
    links = topology.links(total, 0, np.random.default_rng(0))
    edges = len(links.source) // 2
    if not (links.symmetric and edges == total - 1 and links.reached(0).all()):
        raise ValueError(
            f"{topology_name(topology)} at {total:,} workers is not a tree: a tree is connected by "
            f"{total - 1:,} links, each both ways; take chain, binary_tree or star"
        )


def _require(mixing: Mixing, need: Need, what: str) -> None:
    """Raise ValueError if the mixing matrix of one round does not meet a need."""
    if need == "column_stochastic":
        if abs(mixing.columns - 1).max() > EXACT:
            raise ValueError(f"{what} does not conserve the sum over all workers: take uniform")
    elif need == "doubly_stochastic":
        if max(abs(mixing.columns - 1).max(), abs(mixing.rows - 1).max()) > EXACT:
            raise ValueError(
                f"{what} is not doubly stochastic, so the mean would move: take mixing metropolis "
                "where links go both ways, push_sum where they do not"
            )
    elif not mixing.symmetric:
        raise ValueError(
            f"{what} is not symmetric: take mixing metropolis, on links both ways such as ring"
        )
    elif need == "spectrum":
        least, _ = extremes(mixing.apply, np.ones(mixing.links.total))
        if least <= EDGE:
            raise ValueError(
                f"{what} has the eigenvalue {least:.4f}, and all must be above -1/3: take mixing "
                "lazy_metropolis, which has none below 0"
            )


MOST_LINKS = 2**24
"""Maximum number of links a round: beyond it the lists alone take a GiB and a round minutes."""


def check(topology: Topology, total: int) -> None:
    """Raise ValueError if W workers are not supported, or if a round has too many links."""
    size = topology.size(total)
    if size > MOST_LINKS:
        raise ValueError(
            f"{topology_name(topology)} at {total:,} workers is {size:,} messages a round, "
            f"more than {MOST_LINKS:,}: take a sparse topology such as exponential"
        )


def topology_name(topology: Topology) -> str:
    """Return the name of a topology in the registry, or of its class if it is not registered."""
    cls = type(topology)
    return next((name for name, entry in TOPOLOGIES.items() if entry is cls), cls.__name__)


def default_topologies() -> dict[str, Topology]:
    """Return every topology with its default options, by name, except those that need an option."""
    topologies = {}
    for name, cls in TOPOLOGIES.items():
        try:
            topologies[name] = cls()
        except ValueError:
            continue
    return topologies
