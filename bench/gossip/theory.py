"""How fast gossip must agree, from the mixing matrices alone.

Symbols: W workers, P_k the column-stochastic mixing matrix of round k, e the workers' distance from
the mean. P_k keeps the sum, so it maps what sums to zero to what sums to zero: all spectra below
are taken there, which leaves out the eigenvalue 1 of agreement.

Static, P: e shrinks by |lambda_2(P)| a round in the long run. Periodic, over T rounds: by
rho(P_T-1 ... P_0)^(1/T), which is 0 where a period averages exactly. Random: the mean square E|e|^2
shrinks by lambda_2(E[P^T P]) a round, so the factor is its square root.

A random matching: P averages pairs, a projection, so P^T P = P and only E[P] is needed, which is
a I + b 11^T because no two workers differ. Even W: P_ii = 1/2, and a pair (i, j) is drawn with
probability 1/(W - 1), so b = 1/(2(W - 1)). Odd W: one worker sits out, P_ii = 1 - (W - 1)/(2W), a
pair is drawn with probability 1/W, so b = 1/(2W). On what sums to zero E[P] is E[P_ii] - b:
even 1/2 - 1/(2(W - 1)), odd 1/2.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from algorithms.topology import Links, RandomPair, Topology, sides

DENSE = 512
"""Most workers whose matrices are taken whole where nothing better is known: then a second."""
POWER_ROUNDS = 2000
"""Rounds of the power iteration beyond that: good to some 1e-4 of the factor."""
ZERO = 1e-12
"""A spectral radius below this is rounding."""


def contraction(topology: Topology, total: int) -> float:
    """The factor by which the consensus error shrinks a round; NaN for an unknown random one.

    Exact by FFT where the links look alike from every worker of a ring or grid, by dense
    eigenvalues up to 512 workers, by power iteration beyond.
    """
    period = topology.period(total)
    if period is None:
        known = MEAN_SQUARE.get(type(topology))
        return math.sqrt(known(total)) if known else math.nan
    rng = np.random.default_rng(0)  # for the signature: periodic links draw nothing
    rounds = [topology.links(total, k, rng) for k in range(period)]
    radius = spectral_radius(rounds)
    return radius ** (1 / period) if radius > ZERO else 0.0


def random_matching(total: int) -> float:
    """lambda_2(E[P^T P]) of a random matching; derived above."""
    return 0.5 if total % 2 else 0.5 - 0.5 / (total - 1)


MEAN_SQUARE: dict[type[Topology], Callable[[int], float]] = {RandomPair: random_matching}
"""Random topology -> lambda_2(E[P^T P]) at W workers."""


def spectral_radius(rounds: Sequence[Links]) -> float:
    """The largest modulus of an eigenvalue of P_T-1 ... P_0 on what sums to zero."""
    total = rounds[0].total
    for shape in ((1, total), sides(total)):
        spectra = [invariant_spectrum(links, shape) for links in rounds]
        found = [spectrum for spectrum in spectra if spectrum is not None]
        if len(found) == len(rounds):
            return float(np.abs(np.prod(found, axis=0))[1:].max())
    if total > DENSE:
        return power_iteration(rounds)
    product = np.eye(total) - 1 / total
    for links in rounds:
        product = links.mixing_matrix() @ product
    return float(np.abs(np.linalg.eigvals(product)).max())


def invariant_spectrum(links: Links, shape: tuple[int, int]) -> NDArray[np.complex128] | None:
    """(W,) eigenvalues of P, that of agreement first; None where workers differ.

    Workers are cells of a wrap-around grid. Where each one sends by the same hops, P is a
    convolution, and the Fourier modes are its eigenvectors.
    """
    total, (a, b) = links.total, shape
    down = (links.target // b - links.source // b) % a
    right = (links.target % b - links.source % b) % b
    senders = np.bincount(down * b + right, minlength=total)
    if ((senders > 0) & (senders < total)).any():
        return None
    column = (senders > 0).astype(float)
    column[0] = 1
    spectrum: NDArray[np.complex128] = np.fft.fft2(column.reshape(shape) / column.sum()).ravel()
    return spectrum


def power_iteration(rounds: Sequence[Links]) -> float:
    """The spectral radius by the growth of a random vector over the second half of many rounds."""
    total, periods = rounds[0].total, max(2, POWER_ROUNDS // len(rounds))
    shares = [1 / (1 + links.out_degree) for links in rounds]
    x = np.random.default_rng(0).standard_normal(total)
    grown = 0.0
    for turn in range(periods):
        for links, share in zip(rounds, shares, strict=True):
            sent = x * share
            x = sent + np.bincount(links.target, sent[links.source], total)
        x -= x.mean()
        length = float(np.linalg.norm(x))
        if length < ZERO:
            return 0.0
        x /= length
        if turn >= periods // 2:
            grown += math.log(length)
    return math.exp(grown / (periods - periods // 2))
