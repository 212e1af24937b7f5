"""Posteriors of Thompson sampling: independent Gaussian arms, and a law of power over a period."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Values: TypeAlias = NDArray[np.float64]

EXPONENTS = np.linspace(0, 1, 21)
"""Grid of the exponent b of the law, (B,)."""
PRECISION, SHAPE, SCALE = 1e-2, 0.5, 1e-4
"""Prior of the law: precision of A relative to the noise; inverse gamma of the noise variance."""


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
