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
"""What an algorithm may need of its mixing; see `require`."""

JUDGED = 4
"""Rounds by which a random topology is judged."""
EXACT = 1e-12
"""Sums of weights that differ from one by less: rounding."""
EDGE = -1 / 3 + 1e-9
"""Exact diffusion neither grows nor shrinks what has the eigenvalue -1/3; the rest is rounding."""


@dataclass(frozen=True, eq=False)
class Mixing:
    """Worker i becomes own[i] x_i + the sum of weight[e] x_source[e] over the links e into i.

    own: (W,) float64. weight: (E,) float64, in the order of the links.
    """

    links: Links
    own: NDArray[np.float64]
    weight: NDArray[np.float64]

    def matrix(self) -> NDArray[np.float64]:
        """(W, W) float64 P: P[i, j] is the weight that i gives to what j holds."""
        P = np.diag(self.own)
        P[self.links.target, self.links.source] = self.weight
        return P

    def apply(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """(W,) float64 P x."""
        came = self.weight * x[self.links.source]
        return self.own * x + np.bincount(self.links.target, came, self.links.total)

    @property
    def columns(self) -> NDArray[np.float64]:
        """(W,) float64, the sum of each column: how much is made of what a worker holds."""
        return self.own + np.bincount(self.links.source, self.weight, self.links.total)

    @property
    def rows(self) -> NDArray[np.float64]:
        """(W,) float64, the sum of each row: the weights by which a worker becomes a mean."""
        return self.own + np.bincount(self.links.target, self.weight, self.links.total)

    @property
    def symmetric(self) -> bool:
        """Whether P is its transpose, to the bit."""
        links = self.links
        return links.symmetric and np.array_equal(self.weight[links.reverse], self.weight)


def uniform(links: Links) -> Mixing:
    """Every sender splits evenly over itself and its out-neighbours: column-stochastic."""
    share = 1 / (1 + links.out_degree)
    return Mixing(links, share, share[links.source])


def metropolis(links: Links) -> Mixing:
    """Symmetric weights 1 / (1 + max(d_i, d_j)), from what both ends know.

    Errors: ValueError where a link goes one way only.
    """
    if not links.symmetric:
        raise ValueError(
            "metropolis needs links both ways, and some go one way only: take uniform, or a "
            "topology such as ring"
        )
    degree = links.out_degree
    weight = 1 / (1 + np.maximum(degree[links.source], degree[links.target]))
    own = np.ones(links.total) - np.bincount(links.target, weight, links.total)
    return Mixing(links, own, weight)


def lazy(rule: Callable[[Links], Mixing], links: Links) -> Mixing:
    """(I + P) / 2: half of everything stays where it is."""
    whole = rule(links)
    return Mixing(links, (1 + whole.own) / 2, whole.weight / 2)


MIXINGS: dict[str, Callable[[Links], Mixing]] = {
    "uniform": uniform,
    "metropolis": metropolis,
    "lazy": partial(lazy, uniform),
    "lazy_metropolis": partial(lazy, metropolis),
}
"""Rule by name: the only list."""


def named(rule: str) -> Callable[[Links], Mixing]:
    """The rule of a name. Errors: ValueError where there is none."""
    if rule not in MIXINGS:
        raise ValueError(f"mixing must be one of {', '.join(MIXINGS)}, got {rule!r}")
    return MIXINGS[rule]


def mixings(topology: Topology, rule: str, total: int) -> list[Mixing]:
    """Those of a period; of the first rounds where a topology never repeats.

    Errors: ValueError where the topology does not serve W, the rule is unknown or does not serve
    the links.
    """
    weigh = named(rule)
    check(topology, total)
    rounds = range(topology.period(total) or JUDGED)
    drawn = (topology.links(total, k, np.random.default_rng((0, k))) for k in rounds)
    return [weigh(links) for links in drawn]


def require(topology: Topology, rule: str, total: int, need: Need) -> None:
    """Raise ValueError, with the reason and the way out, where a need is not met at W workers.

    column_stochastic   the sum over all workers is kept
    doubly_stochastic   so is agreement: plain averaging keeps the mean
    symmetric           P is its own transpose
    static              the links are the same every round
    tree                static, both ways, connected, W - 1 edges
    spectrum            static, symmetric, and the smallest eigenvalue is above -1/3

    Random topologies are judged by their first rounds.
    """
    assert need in get_args(Need)
    if need == "tree":
        _require_tree(topology, total)
        return
    if need in ("static", "spectrum") and topology.period(total) != 1:
        raise ValueError(
            f"{name_of(topology)} changes its links every round, and here they must stay: take a "
            "static topology such as ring or hypercube"
        )
    if need == "static":
        return
    try:
        made = mixings(topology, rule, total)
    except ValueError as error:
        raise ValueError(f"{name_of(topology)} with mixing {rule}: {error}") from None
    for mixing in made:
        _require(mixing, need, f"{name_of(topology)} with mixing {rule} at {total:,} workers")


def _require_tree(topology: Topology, total: int) -> None:
    require(topology, "uniform", total, "static")
    check(topology, total)
    links = topology.links(total, 0, np.random.default_rng(0))
    edges = len(links.source) // 2
    if not (links.symmetric and edges == total - 1 and links.reached(0).all()):
        raise ValueError(
            f"{name_of(topology)} at {total:,} workers is no tree: that is connected by "
            f"{total - 1:,} links, each both ways; take chain, binary_tree or star"
        )


def _require(mixing: Mixing, need: Need, what: str) -> None:
    """Raise ValueError where one round's mixing does not do."""
    if need == "column_stochastic":
        if abs(mixing.columns - 1).max() > EXACT:
            raise ValueError(f"{what} does not keep the sum over all workers: take uniform")
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
"""Links a round may have: beyond this the lists alone take a GiB and a round takes minutes."""


def check(topology: Topology, total: int) -> None:
    """Raise ValueError where W is not served, or a round would not fit memory and patience."""
    size = topology.size(total)
    if size > MOST_LINKS:
        raise ValueError(
            f"{name_of(topology)} at {total:,} workers is {size:,} messages a round, more than "
            f"{MOST_LINKS:,}: take a sparse topology such as exponential"
        )


def name_of(topology: Topology) -> str:
    """The name in the registry; that of the class where it is in none."""
    cls = type(topology)
    return next((name for name, known in TOPOLOGIES.items() if known is cls), cls.__name__)


def ready() -> dict[str, Topology]:
    """Every topology with its defaults, by name; without those that need an option."""
    found = {}
    for name, cls in TOPOLOGIES.items():
        try:
            found[name] = cls()
        except ValueError:
            continue
    return found
