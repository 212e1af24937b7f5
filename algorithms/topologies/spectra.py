"""Spectra of mixing matrices on what sums to zero, each by the quickest way that is exact."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from algorithms.topologies.mixing import Mixing
from algorithms.topologies.spectrum import Vector, extremes

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
