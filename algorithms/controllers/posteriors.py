"""Posteriors of Thompson sampling: Gaussian arms, a law of power over a period, polynomials."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Values: TypeAlias = NDArray[np.float64]

EXPONENTS = np.linspace(0, 1, 21)
"""Grid of the exponent b of the law, (B,)."""
PRECISION, SHAPE, SCALE = 1e-2, 0.5, 1e-4
"""Prior of the law: precision of A relative to the noise; inverse gamma of the noise variance."""
FLOOR = 1e-2
"""Prior noise variance of a linear reward, relative to the mean square of the rewards."""


@dataclass
class GaussianArms:
    """Independent arms with Gaussian rewards and a common variance, estimated within the arms.

    With flat priors the posterior of the mean of an arm with n rewards is N(mean, variance / n).
    """

    count: Values
    """(A,) discounted number of rewards of each arm."""
    total: Values
    """(A,) discounted sum of rewards."""
    squares: Values
    """(A,) discounted sum of squared rewards."""

    @classmethod
    def of(cls, arms: int) -> GaussianArms:
        """Return the posterior of `arms` arms without rewards."""
        return cls(np.zeros(arms), np.zeros(arms), np.zeros(arms))

    def update(self, arm: int, reward: float, keep: float = 1.0) -> None:
        """Add a reward of an arm; keep: factor on all earlier rewards."""
        for values, new in ((self.count, 1.0), (self.total, reward), (self.squares, reward**2)):
            np.multiply(values, keep, out=values)
            values[arm] += new

    def posterior(self) -> tuple[Values, Values]:
        """Return mean and standard deviation of the value of each arm, (A,); NaN without one."""
        count = np.where(self.count > 0, self.count, np.nan)
        mean = self.total / count
        n, freedom = float(np.nansum(count)), float(np.nansum(count) - np.sum(self.count > 0))
        residual = float(np.nansum(self.squares - self.total * mean))
        if freedom <= 0.5:  # about one reward per arm: the variance between arms bounds it
            overall = float(np.nansum(self.total)) / n if n else 0.0
            residual, freedom = float(np.nansum(self.squares)) - n * overall**2, max(n - 1, 1)
        return mean, np.sqrt(max(residual, 0.0) / freedom / count)


@dataclass
class PowerLaw:
    """Law A m H^b of the drop D of a quantity in m rounds of H steps, with Gaussian noise.

    For each exponent b on a grid, A and the noise variance have a normal-inverse-gamma posterior;
    the weight of b is its marginal likelihood. All arms share the law.
    """

    count: Values = field(default_factory=lambda: np.zeros(1))
    """(1,) discounted number of drops n."""
    xx: Values = field(default_factory=lambda: np.zeros(len(EXPONENTS)))
    """(B,) discounted sum of x^2, x = m H^b."""
    xy: Values = field(default_factory=lambda: np.zeros(len(EXPONENTS)))
    """(B,) discounted sum of x D."""
    yy: Values = field(default_factory=lambda: np.zeros(1))
    """(1,) discounted sum of D^2."""

    def update(self, period: int, rounds: int, drop: float, keep: float = 1.0) -> None:
        """Add the drop of some rounds of a period; keep: factor on all earlier drops."""
        x = rounds * float(period) ** EXPONENTS
        news = ((self.count, 1.0), (self.xx, x * x), (self.xy, x * drop), (self.yy, drop**2))
        for values, new in news:
            values[:] = keep * values + new

    def fit(self) -> tuple[Values, Values, Values]:
        """Return weight, mean of A and standard deviation of A of each exponent, (B,) each."""
        precision = PRECISION + self.xx
        mean = self.xy / precision
        shape = SHAPE + self.count / 2
        scale = SCALE + (self.yy - self.xy * mean) / 2
        logs = -0.5 * np.log(precision) - shape * np.log(scale)
        weight = np.exp(logs - logs.max())
        return weight / weight.sum(), mean, np.sqrt(scale / shape / precision)

    def posterior(self, periods: Values) -> tuple[Values, Values]:
        """Return mean and standard deviation of the drop in one round of each period, (A,)."""
        weight, mean, deviation = self.fit()
        x = periods[:, None] ** EXPONENTS
        first = (x * mean) @ weight
        second = (x**2 * (mean**2 + deviation**2)) @ weight
        return first, np.sqrt(np.maximum(second - first**2, 0))

    def draw(self, periods: Values, rng: np.random.Generator) -> Values:
        """Return a draw of the drop in one round of each period, (A,), 0 or larger."""
        weight, mean, deviation = self.fit()
        b = rng.choice(len(weight), p=weight)
        scale = max(0.0, float(rng.normal(mean[b], deviation[b])))
        return scale * np.asarray(periods ** EXPONENTS[b])


@dataclass
class LinearReward:
    """Bayesian linear regression of a reward on D features: r = theta . phi + noise.

    theta is N(0, s^2 I / PRECISION), and the noise variance s^2 inverse gamma; the posterior does
    not depend on the unit of the rewards, nor on their order.
    """

    count: Values
    """(1,) discounted number of rewards n."""
    xx: Values
    """(D, D) discounted sum of phi phi^T."""
    xy: Values
    """(D,) discounted sum of phi r."""
    yy: Values
    """(1,) discounted sum of r^2."""

    @classmethod
    def of(cls, features: int) -> LinearReward:
        """Return the posterior of D = `features` coefficients without rewards."""
        return cls(np.zeros(1), np.zeros((features, features)), np.zeros(features), np.zeros(1))

    def update(self, phi: Values, reward: float, keep: float = 1.0) -> None:
        """Add a reward of features phi, (D,); keep: factor on all earlier rewards."""
        news = ((self.count, 1.0), (self.xx, np.outer(phi, phi)), (self.xy, phi * reward))
        for values, new in (*news, (self.yy, reward**2)):
            values[...] = keep * values + new

    def fit(self) -> tuple[Values, Values, float]:
        """Return mean, (D,), and covariance of theta over the noise variance, (D, D), and this."""
        inverse: Values = np.linalg.inv(self.xx + PRECISION * np.eye(len(self.xy))).astype(float)
        mean = inverse @ self.xy
        n = float(self.count[0])
        if not n:
            return mean, inverse, 1.0
        residual = max(0.0, float(self.yy[0] - self.xy @ mean)) / 2
        return mean, inverse, (residual + SHAPE * FLOOR * float(self.yy[0]) / n) / (SHAPE + n / 2)

    def posterior(self, phi: Values) -> tuple[Values, Values]:
        """Return mean and standard deviation of the value of each arm, (A,); phi: (A, D)."""
        mean, inverse, variance = self.fit()
        return phi @ mean, np.sqrt(variance * np.einsum("ad,de,ae->a", phi, inverse, phi))

    def draw(self, phi: Values, rng: np.random.Generator) -> Values:
        """Return the value of each arm, (A,), by one draw of theta; phi: (A, D)."""
        mean, inverse, variance = self.fit()
        noise = np.linalg.cholesky(inverse) @ rng.standard_normal(len(mean))
        values: Values = phi @ (mean + variance**0.5 * noise)
        return values


def monomials(points: Values, degree: int) -> Values:
    """Return all monomials of the coordinates up to a total degree, (A, D); points: (A, k)."""
    k = points.shape[1]
    chosen = [c for n in range(degree + 1) for c in combinations_with_replacement(range(k), n)]
    return np.stack([points[:, c].prod(1) for c in map(list, chosen)], axis=1)


def grid(sizes: list[int]) -> Values:
    """Return all points of a grid, (A, k): evenly spaced from -1 to 1 along each axis."""
    axes = [np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in sizes]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(sizes))
