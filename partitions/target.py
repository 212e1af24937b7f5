"""A partition that has the skew one asks for.

Symbols: JS the normalised generalised Jensen-Shannon divergence of partitions.skew, W workers,
p_k(alpha) the wanted label shares of worker k.

The label shares are Dirichlet draws from one set of random numbers, of which alpha makes more or
less skewed ones: p_k(alpha) is a vector of Gamma(alpha) quantiles, normalised, so JS falls smoothly
as alpha grows, and bisection on log alpha finds the one whose partition, in whole samples and with
both margins met, has the JS that is wanted. Departs from its source: there is none that we know of;
schemes are named by alpha elsewhere, whose skew depends on the number of workers, of classes and of
samples.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from partitions.counts import class_sizes, dealt
from partitions.placing import require_enough
from partitions.protocol import Samples
from partitions.sizes import even, softmax
from partitions.skew import normalised_js
from partitions.transport import fit, rounded

ALPHAS = (0.01, 1e6)
"""Between the skew of one class a worker, as far as sizes allow, and none."""
HALVINGS, DRAWS = 40, 16


@dataclass(frozen=True)
class Target:
    """label skew as asked for: normalised Jensen-Shannon of js, equal sizes

      1. uniform numbers are drawn, others if the most skewed partition they give has less than js;
      2. log alpha is bisected until the partition they give has js within tolerance / 4;
      3. samples are drawn at random within a class.
    Disjoint and covering; sizes differ by at most one.
    """

    js: float = field(default=0.4, metadata={"help": "normalised Jensen-Shannon divergence wanted"})
    tolerance: float = field(default=0.02, metadata={"help": "how far from it is accepted"})

    def __post_init__(self) -> None:
        if not 0 <= self.js <= 1:
            raise ValueError(f"js must be in [0, 1], got {self.js}")
        if not 0 < self.tolerance <= 1:
            raise ValueError(f"tolerance must be in (0, 1], got {self.tolerance}")

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """The shard of every worker.

        Raises ValueError for fewer samples than workers, and for a skew that no partition found
        has: the message says what can be reached.
        """
        return dealt(samples, self.find(samples, parts, rng)[1], rng)

    def find(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> tuple[float, NDArray[np.int64]]:
        """The concentration alpha and the counts (W, C') of the partition."""
        require_enough(samples, parts)
        rows, columns = even(samples.size, parts), class_sizes(samples)
        seed = int(rng.integers(2**62))

        def made(alpha: float) -> tuple[float, NDArray[np.int64]]:
            plan = fit(label_shares(alpha, draws), rows, columns)
            counts = rounded(plan, rows, columns, np.random.default_rng(seed))
            return normalised_js(counts), counts

        ends: list[float] = []
        for _ in range(DRAWS):  # 1
            draws = rng.random((2, parts, len(columns)))
            ends += [made(alpha)[0] for alpha in ALPHAS]
            if ends[-2] >= self.js:
                break
        low, high = np.log(ALPHAS)
        tried = []
        for _ in range(HALVINGS):  # 2
            middle = (low + high) / 2
            js, counts = made(float(np.exp(middle)))
            tried.append((abs(js - self.js), float(np.exp(middle)), counts))
            if tried[-1][0] <= self.tolerance / 4:
                break
            low, high = (middle, high) if js > self.js else (low, middle)
        off, alpha, counts = min(tried, key=lambda found: found[0])
        if off > self.tolerance:
            raise ValueError(
                f"js={self.js} cannot be had by {parts} workers of {samples.size // parts} or more "
                f"samples of {len(columns)} classes: between {min(ends):.3f} and {max(ends):.3f} "
                "can; ask for one of those, or for another number of workers"
            )
        return alpha, counts


def label_shares(alpha: float, draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """p(alpha), (W, C'), from uniform draws (2, W, C'): monotone quantiles of Gamma(alpha).

    Gamma(alpha) is Gamma(alpha + 1) * U^(1 / alpha), in logarithms, as in sizes.dirichlet.
    """
    from scipy.special import gammaincinv

    tiny = np.finfo(np.float64).tiny
    logs = np.log(gammaincinv(alpha + 1, draws[0]) + tiny) + np.log(draws[1] + tiny) / alpha
    return softmax(logs)
