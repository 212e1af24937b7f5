"""How fast gossip must agree, from the mixing matrices alone.

Symbols: W workers, P_k the column-stochastic mixing matrix of round k, e the workers' distance from
agreement. P_k keeps the sum, so it maps what sums to zero to what sums to zero: all spectra below
are taken there, which leaves out the eigenvalue 1 of agreement.

Static, P: e shrinks by |lambda_2(P)| a round in the long run. Periodic, over T rounds: by
rho(P_T-1 ... P_0)^(1/T), which is 0 where a period averages exactly. Random: the mean square E|e|^2
shrinks by lambda_2(E[P^T P]) a round, so the factor is its square root; there e is the distance
x - w mean of push-sum's numerators, which is that of the workers where w stays 1.

Random topologies draw workers alike: E[P^T P] = a I + b 11^T, and lambda_2 = a, its entry on the
diagonal less the one beside it.

A random matching: P averages pairs, a projection, so P^T P = P and only E[P] is needed. Even W:
P_ii = 1/2, and a pair (i, j) is drawn with probability 1/(W - 1), so b = 1/(2(W - 1)). Odd W: one
worker sits out, P_ii = 1 - (W - 1)/(2W), a pair is drawn with probability 1/W, so b = 1/(2W).
On what sums to zero E[P] is E[P_ii] - b: even 1/2 - 1/(2(W - 1)), odd 1/2.

Epidemic: P = (I + A)/(s + 1), column j of A marks the s workers that j chose, each of the others
with probability q = s/(W - 1), columns independent. P^T P = (I + A + A^T + A^T A)/(s + 1)^2. On the
diagonal: A_ii = 0 and (A^T A)_ii = s, so 1/(s + 1). Beside it: E[A_ij] = q, and of (A^T A)_ij the
W - 2 workers other than i and j are chosen by both with probability q^2 each.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from algorithms.topologies.epidemic import Epidemic
from algorithms.topologies.mixing import Mixing, check, mixings, named
from algorithms.topologies.protocol import Topology, sides
from algorithms.topologies.random_pair import RandomPair
from algorithms.topologies.spectrum import Vector, extremes

DENSE = 512
"""Most workers whose matrices are taken whole where nothing better is known: then a second."""
DRAWS, DRAWN_LINKS = 2000, 2**24
"""Rounds that an unknown mean square is averaged over; fewer where they have more links."""
ZERO = 1e-12
"""A spectral radius below this is rounding."""


def spectral_gap(topology: Topology, rule: str, total: int) -> float:
    """1 - the factor by which the consensus error shrinks a round, with weights of a rule.

    Errors: ValueError where the topology does not serve W, or the rule the topology.
    """
    return 1 - contraction(topology, total, rule)


def contraction(topology: Topology, total: int, rule: str = "uniform") -> float:
    """The factor by which the consensus error shrinks a round.

    Exact by FFT where the links look alike from every worker of a ring or grid, by Lanczos where
    a static P is symmetric or nearly so, else by dense eigenvalues up to 512 workers, by power
    iteration beyond. Random topologies: by a formula, else by the mean over many draws.
    """
    if total == 1:
        return 0.0
    period = topology.period(total)
    if period is None:
        return math.sqrt(mean_square(topology, total, rule))
    radius = spectral_radius(mixings(topology, rule, total))
    return radius ** (1 / period) if radius > ZERO else 0.0


def mean_square(topology: Topology, total: int, rule: str = "uniform") -> float:
    """lambda_2(E[P^T P]) of a random topology."""
    known = MEAN_SQUARE.get(type(topology)) if rule == "uniform" else None
    return known(topology, total) if known else drawn_mean_square(topology, total, rule)


def drawn_mean_square(topology: Topology, total: int, rule: str) -> float:
    """The same from draws, good to some percent: each is a mean over all workers.

    a of a I + b 11^T is (tr E[P^T P] - 1^T E[P^T P] 1 / W) / (W - 1).
    """
    weigh = named(rule)
    check(topology, total)
    draws = max(1, min(DRAWS, DRAWN_LINKS // max(1, topology.size(total))))
    found = 0.0
    for k in range(draws):
        mixing = weigh(topology.links(total, k, np.random.default_rng((0, k))))
        trace = mixing.own @ mixing.own + mixing.weight @ mixing.weight
        found += float(trace - mixing.rows @ mixing.rows / total) / (total - 1) / draws
    return max(0.0, found)


def random_matching(topology: Topology, total: int) -> float:
    """lambda_2(E[P^T P]) of a random matching; derived above."""
    return 0.5 if total % 2 else 0.5 - 0.5 / (total - 1)


def epidemic(topology: Topology, total: int) -> float:
    """lambda_2(E[P^T P]) where everybody sends to s others; derived above. 0 where to all."""
    assert isinstance(topology, Epidemic)
    s = min(topology.s, total - 1)
    q = s / (total - 1)
    return 1 / (s + 1) - (2 * q + (total - 2) * q**2) / (s + 1) ** 2 if s < total - 1 else 0.0


MEAN_SQUARE: dict[type[Topology], Callable[[Topology, int], float]] = {
    RandomPair: random_matching,
    Epidemic: epidemic,
}
"""Random topology -> lambda_2(E[P^T P]) at W workers that split evenly."""


def spectral_radius(rounds: Sequence[Mixing]) -> float:
    """The largest modulus of an eigenvalue of P_T-1 ... P_0 on what sums to zero."""
    total = rounds[0].links.total
    for shape in ((1, total), sides(total)):
        spectra = [invariant_spectrum(mixing, shape) for mixing in rounds]
        found = [spectrum for spectrum in spectra if spectrum is not None]
        if len(found) == len(rounds):
            return float(np.abs(np.prod(found, axis=0))[1:].max())
    if len(rounds) == 1 and (radius := balanced_radius(rounds[0])) is not None:
        return radius
    if total > DENSE:
        return power_iteration(rounds)
    product = np.eye(total) - 1 / total
    for mixing in rounds:
        product = mixing.matrix() @ product
    return float(np.abs(np.linalg.eigvals(product)).max())


MANY_LINKS = 2**17
"""A topology with more links a round runs only when it is named: plans and rounds take seconds."""


SAME = 1e-12
"""Weights that differ by less are the same."""
POWER_ROUNDS = 2000
"""Rounds of the power iteration: good to some 1e-4 of the factor."""
NOTHING = 1e-12
"""A random vector that a period makes shorter than this was averaged exactly."""


def invariant_spectrum(mixing: Mixing, shape: tuple[int, int]) -> NDArray[np.complex128] | None:
    """(W,) eigenvalues of P, that of agreement first; None where workers differ.

    Workers are cells of a wrap-around grid. Where each one sends by the same hops with the same
    weights, P is a convolution, and the Fourier modes are its eigenvectors.
    """
    links, (a, b) = mixing.links, shape
    total = links.total
    down = (links.target // b - links.source // b) % a
    right = (links.target % b - links.source % b) % b
    hop = down * b + right
    column = np.bincount(hop, mixing.weight, total) / total
    column[0] = mixing.own[0]
    alike = np.abs(mixing.own - column[0]).max() < SAME
    if not alike or np.abs(mixing.weight - column[hop]).max(initial=0) > SAME:
        return None  # also where only some send by a hop: the mean over all is less than theirs
    spectrum: NDArray[np.complex128] = np.fft.fft2(column.reshape(shape)).ravel()
    return spectrum


def balanced_radius(mixing: Mixing) -> float | None:
    """The spectral radius where pi_i P_ji = pi_j P_ij for some pi > 0 that is kept; else None.

    With R = diag(pi)^1/2, R^-1 P R is then symmetric, and R^-1 pi its eigenvector of agreement.
    pi is 1 where P is symmetric itself, and 1 + degree where all split evenly.
    """
    links = mixing.links
    if not links.symmetric:
        return None
    for pi in (np.ones(links.total), 1.0 + links.out_degree):
        flow = mixing.weight * pi[links.source]
        if np.abs(flow - flow[links.reverse]).max() < SAME * pi.max():
            root = np.sqrt(pi)

            def turned(x: Vector, root: Vector = root) -> Vector:
                return mixing.apply(x * root) / root

            return max(map(abs, extremes(turned, root)))
    return None


def power_iteration(rounds: Sequence[Mixing]) -> float:
    """The spectral radius by the growth of a random vector over the second half of many rounds."""
    total, periods = rounds[0].links.total, max(2, POWER_ROUNDS // len(rounds))
    x = np.random.default_rng(0).standard_normal(total)
    grown = 0.0
    for turn in range(periods):
        for mixing in rounds:
            x = mixing.apply(x)
        x -= x.mean()
        length = float(np.linalg.norm(x))
        if length < NOTHING:
            return 0.0
        x /= length
        if turn >= periods // 2:
            grown += math.log(length)
    return math.exp(grown / (periods - periods // 2))
