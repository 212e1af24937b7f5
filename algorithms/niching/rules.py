"""Rules of replacement: the probability that a child replaces the parent it is matched to.

Mengshoel, Goldberg: The Crowding Approach to Niching in Genetic Algorithms, Evolutionary
Computation 16(3), 2008 (deterministic, probabilistic and Boltzmann rules, and portfolios of them);
Galan, Mengshoel: Generalized Crowding for Genetic Algorithms, GECCO 2010 (phi).
Symbols: f_c > 0 fitness of the child, f_p of the parent, gain = log f_c - log f_p. With the fitness
exp(-loss), the gain is the loss of the parent minus that of the child. In this form no fitness
underflows.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Gains = NDArray[np.floating]
"""(n,) gains of n tournaments."""
Chances = NDArray[np.floating]
"""(n,) probabilities that the child replaces the parent."""


def deterministic(gain: Gains) -> Chances:
    """Return 1 if f_c > f_p, 1/2 if they are equal, else 0."""
    return np.heaviside(gain, 0.5)


def probabilistic(gain: Gains) -> Chances:
    """Return f_c / (f_c + f_p)."""
    return _logistic(gain)


def generalised(gain: Gains, phi: float) -> Chances:
    """Return f_c / (f_c + phi f_p) if f_c > f_p, phi f_c / (phi f_c + f_p) if f_c < f_p, else 1/2.

    0 <= phi: 0 is the deterministic rule, 1 the probabilistic one, more favours exploration.
    """
    log = np.log(phi) if phi > 0 else -np.inf
    return np.where(gain == 0, 0.5, _logistic(gain - log * np.where(gain > 0, 1.0, -1.0)))


def boltzmann(gain: Gains, temperature: float) -> Chances:
    """Return 1 / (1 + exp(-gain / temperature)), of the log fitness; temperature > 0."""
    return _logistic(gain / temperature)


RULES: dict[str, Callable[[Gains, float, float], Chances]] = {
    "deterministic": lambda gain, phi, temperature: deterministic(gain),
    "probabilistic": lambda gain, phi, temperature: probabilistic(gain),
    "generalised": lambda gain, phi, temperature: generalised(gain, phi),
    "boltzmann": lambda gain, phi, temperature: boltzmann(gain, temperature),
}
"""Rules by name, as functions of gain, phi and temperature."""


def portfolio(names: Sequence[str], gain: Gains, phi: float, temperature: float) -> Chances:
    """Return the mean over the named rules: every tournament draws one of them.

    A name that occurs twice has twice the weight. One name is that rule.
    """
    chances: Chances = np.mean([RULES[name](gain, phi, temperature) for name in names], axis=0)
    return chances


def _logistic(value: Gains) -> Chances:
    """Return 1 / (1 + exp(-value)), without overflow."""
    chances: Chances = 0.5 * (1 + np.tanh(0.5 * value))
    return chances
