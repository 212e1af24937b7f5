"""Consensus rates of gossip from the mixing matrices alone.

Symbols: W workers, P_k the column-stochastic mixing matrix of round k, e the consensus error. P_k
keeps the sum, so that it maps vectors that sum to zero to such vectors: all spectra below are those
on this subspace, which excludes the eigenvalue 1 of consensus.

Static, P: e shrinks by |lambda_2(P)| a round in the long run. Periodic, over T rounds: by
rho(P_T-1 ... P_0)^(1/T), which is 0 if a period averages exactly. Random: the mean square E|e|^2
shrinks by lambda_2(E[P^T P]) a round, so the factor is its square root; there e is the distance
x - w mean of push-sum's numerators, which is that of the workers while w stays 1.

Random topologies treat all workers alike: E[P^T P] = a I + b 11^T, and lambda_2 = a, its diagonal
entry minus the others.

A random matching: P averages pairs, a projection, so P^T P = P and only E[P] is needed. Even W:
P_ii = 1/2, and a pair (i, j) is drawn with probability 1/(W - 1), so b = 1/(2(W - 1)). Odd W: one
worker has no partner, P_ii = 1 - (W - 1)/(2W), a pair is drawn with probability 1/W, so b = 1/(2W).
On the subspace E[P] is E[P_ii] - b: even 1/2 - 1/(2(W - 1)), odd 1/2.

Epidemic: P = (I + A)/(s + 1), column j of A marks the s workers that j chose, each of the others
with probability q = s/(W - 1), columns independent. P^T P = (I + A + A^T + A^T A)/(s + 1)^2. On the
diagonal: A_ii = 0 and (A^T A)_ii = s, so 1/(s + 1). Off it: E[A_ij] = q, and of (A^T A)_ij the
W - 2 workers other than i and j are chosen by both with probability q^2 each.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from algorithms.topologies.epidemic import Epidemic
from algorithms.topologies.mixing import Mixing, check, mixing_rule, mixings
from algorithms.topologies.protocol import Topology, sides
from algorithms.topologies.random_pair import RandomPair
from algorithms.topologies.spectrum import Vector, extremes

DENSE = 512
"""Maximum number of workers for dense eigenvalues, which then take a second."""
DRAWS, DRAWN_LINKS = 2000, 2**24
"""Number of rounds for the estimate of a mean square, and of their links in total at most."""
ZERO = 1e-12
"""Spectral radius below which the rest is rounding."""


def spectral_gap(topology: Topology, rule: str, total: int) -> float:
    """Return 1 minus the factor by which the consensus error shrinks a round.

    Errors: ValueError if the topology does not support W workers, or the rule the topology.
    """
    return 1 - contraction(topology, total, rule)


def contraction(topology: Topology, total: int, rule: str = "uniform") -> float:
    """Return the factor by which the consensus error shrinks a round.

    Computed by FFT if all workers of a ring or grid have the same links, by Lanczos if a static P
    is similar to a symmetric matrix, else by dense eigenvalues up to 512 workers and by power
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
    """Return lambda_2(E[P^T P]) of a random topology."""
    formula = MEAN_SQUARE.get(type(topology)) if rule == "uniform" else None
    return formula(topology, total) if formula else drawn_mean_square(topology, total, rule)


def drawn_mean_square(topology: Topology, total: int, rule: str) -> float:
    """Return an estimate of lambda_2(E[P^T P]) from draws, within some percent.

    a of a I + b 11^T is (tr E[P^T P] - 1^T E[P^T P] 1 / W) / (W - 1).
    """
    weights = mixing_rule(rule)
    check(topology, total)
    draws = max(1, min(DRAWS, DRAWN_LINKS // max(1, topology.size(total))))
    estimate = 0.0
    for k in range(draws):
        mixing = weights(topology.links(total, k, np.random.default_rng((0, k))))
        trace = mixing.own @ mixing.own + mixing.weight @ mixing.weight
        estimate += float(trace - mixing.rows @ mixing.rows / total) / (total - 1) / draws
    return max(0.0, estimate)


def random_matching(topology: Topology, total: int) -> float:
    """Return lambda_2(E[P^T P]) of a random matching; derived above."""
    return 0.5 if total % 2 else 0.5 - 0.5 / (total - 1)


def epidemic(topology: Topology, total: int) -> float:
    """Return lambda_2(E[P^T P]) of epidemic learning with s peers; derived above."""
    assert isinstance(topology, Epidemic)
    s = min(topology.s, total - 1)
    q = s / (total - 1)
    return 1 / (s + 1) - (2 * q + (total - 2) * q**2) / (s + 1) ** 2 if s < total - 1 else 0.0


MEAN_SQUARE: dict[type[Topology], Callable[[Topology, int], float]] = {
    RandomPair: random_matching,
    Epidemic: epidemic,
}
"""Formula of lambda_2(E[P^T P]) at W workers with uniform weights, by random topology."""


def spectral_radius(rounds: Sequence[Mixing]) -> float:
    """Return the spectral radius of P_T-1 ... P_0 on vectors that sum to zero."""
    total = rounds[0].links.total
    for shape in ((1, total), sides(total)):
        spectra = [invariant_spectrum(mixing, shape) for mixing in rounds]
        invariant = [spectrum for spectrum in spectra if spectrum is not None]
        if len(invariant) == len(rounds):
            return float(np.abs(np.prod(invariant, axis=0))[1:].max())
    if len(rounds) == 1 and (radius := balanced_radius(rounds[0])) is not None:
        return radius
    if total > DENSE:
        return power_iteration(rounds)
    product = np.eye(total) - 1 / total
    for mixing in rounds:
        product = mixing.matrix() @ product
    return float(np.abs(np.linalg.eigvals(product)).max())


MANY_LINKS = 2**17
"""Maximum links a round of a topology that runs without being asked for: more take seconds."""


SAME = 1e-12
"""Tolerance of equal weights."""
POWER_ROUNDS = 2000
"""Rounds of the power iteration: a relative error of some 1e-4."""
NOTHING = 1e-12
"""Length of a vector after a period below which the period averages exactly."""


def invariant_spectrum(mixing: Mixing, shape: tuple[int, int]) -> NDArray[np.complex128] | None:
    """Return the (W,) eigenvalues of P, that of consensus first; None if workers differ.

    Workers are cells of a wrap-around grid. If all send by the same hops with the same weights, P
    is a convolution, and the Fourier modes are its eigenvectors.
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
        return (
            None  # also if only some workers send by a hop: the mean over all is less than theirs
        )
    spectrum: NDArray[np.complex128] = np.fft.fft2(column.reshape(shape)).ravel()
    return spectrum


def balanced_radius(mixing: Mixing) -> float | None:
    """Return the spectral radius if pi_i P_ji = pi_j P_ij for an invariant pi > 0, else None.

    With R = diag(pi)^1/2, R^-1 P R is then symmetric, and R^-1 pi its consensus eigenvector. pi is
    1 for a symmetric P, and 1 + degree for uniform weights.
    """
    links = mixing.links
    if not links.symmetric:
        return None
    for pi in (np.ones(links.total), 1.0 + links.out_degree):
        flow = mixing.weight * pi[links.source]
        if np.abs(flow - flow[links.reverse]).max() < SAME * pi.max():
            root = np.sqrt(pi)

            def similar(x: Vector, root: Vector = root) -> Vector:
                return mixing.apply(x * root) / root

            return max(map(abs, extremes(similar, root)))
    return None


def power_iteration(rounds: Sequence[Mixing]) -> float:
    """Return the spectral radius by the growth of a random vector in the second half of rounds."""
    total, periods = rounds[0].links.total, max(2, POWER_ROUNDS // len(rounds))
    x = np.random.default_rng(0).standard_normal(total)
    growth = 0.0
    for period in range(periods):
        for mixing in rounds:
            x = mixing.apply(x)
        x -= x.mean()
        length = float(np.linalg.norm(x))
        if length < NOTHING:
            return 0.0
        x /= length
        if period >= periods // 2:
            growth += math.log(length)
    return math.exp(growth / (periods - periods // 2))
