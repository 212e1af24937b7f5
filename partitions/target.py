"""Label skew of a requested amount.

Symbols: JS the normalised generalised Jensen-Shannon divergence of partitions.skew, W workers, C'
classes present, alpha the concentration of the label shares of a worker.

Label shares are Dirichlet(alpha) draws as in partitions.dirichlet_worker, computed from one set of
uniform numbers by the quantiles of Gamma(alpha). JS therefore falls steadily as alpha grows, and
bisection on log alpha finds a partition, in whole samples and with both margins met, of the
requested JS. Departs from its source: we know of none; elsewhere partitions are specified by alpha,
whose skew depends on the number of workers, of classes and of samples.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from partitions.placing import require_enough
from partitions.protocol import Partition, Samples
from partitions.sizes import even
from partitions.skew import normalised_js
from partitions.transport import class_sizes, deal, fit_logarithms, round_table

ALPHAS = (0.001, 1e6)
"""Range of alpha, from the most skewed table that the margins allow to none."""
HALVINGS, DRAWS = 40, 16


@dataclass(frozen=True)
class Target(Partition):
    """Label skew as requested: normalised Jensen-Shannon of js, equal sizes.

      1. uniform numbers are draw, and redrawn while their most skewed partition has less than js;
      2. log alpha is bisected until their partition has js within tolerance / 4;
      3. samples are draw at random within a class.
    Disjoint and covering; sizes differ by at most one. With one worker or one class no partition
    has a skew, and js is ignored.
    """

    js: float = field(
        default=0.4, metadata={"help": "requested normalised Jensen-Shannon divergence"}
    )
    tolerance: float = field(default=0.02, metadata={"help": "accepted deviation from js"})

    def __post_init__(self) -> None:
        if not 0 <= self.js <= 1:
            raise ValueError(f"js must be in [0, 1], got {self.js}")
        if not 0 < self.tolerance <= 1:
            raise ValueError(f"tolerance must be in (0, 1], got {self.tolerance}")

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """Return the shard of every worker.

        Raises ValueError for fewer samples than workers, and for a skew out of reach, with the
        range that can be reached.
        """
        return deal(samples, self.find(samples, parts, rng)[1], rng)

    def find(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> tuple[float, NDArray[np.int64]]:
        """Return the concentration alpha, in ALPHAS, and the counts (W, C') of the partition."""
        require_enough(samples, parts)
        rows, columns = even(samples.size, parts), class_sizes(samples)
        seed = int(rng.integers(2**62))
        shape = (2, parts, len(columns))

        def table(alpha: float, uniform: NDArray[np.float64]) -> tuple[float, NDArray[np.int64]]:
            plan = fit_logarithms(log_gamma_quantiles(alpha, uniform), rows, columns)
            counts = round_table(plan, rows, columns, np.random.default_rng(seed))
            return normalised_js(counts), counts

        if min(parts, len(columns)) == 1:
            return ALPHAS[1], table(ALPHAS[1], rng.random(shape))[1]
        most = -1.0
        for _ in range(DRAWS):  # 1
            draw = rng.random(shape)
            js, counts = table(ALPHAS[0], draw)
            if js > most:
                uniform, most, trials = draw, js, [(js, ALPHAS[0], counts)]
            if most >= self.js:
                break
        least, counts = table(ALPHAS[1], uniform)
        trials.append((least, ALPHAS[1], counts))
        low, high = np.log(ALPHAS)
        for _ in range(HALVINGS):  # 2
            if abs(trials[-1][0] - self.js) <= self.tolerance / 4:
                break
            middle = (low + high) / 2
            alpha = float(np.exp(middle))
            js, counts = table(alpha, uniform)
            trials.append((js, alpha, counts))
            low, high = (middle, high) if js > self.js else (low, middle)
        js, alpha, counts = min(trials, key=lambda trial: abs(trial[0] - self.js))
        if abs(js - self.js) > self.tolerance:
            raise ValueError(
                f"js={self.js} is out of reach for {parts} workers of at least "
                f"{samples.size // parts} samples of {len(columns)} classes: take a value between "
                f"{least:.3f} and {most:.3f}, or another number of workers"
            )
        return alpha, counts


def log_gamma_quantiles(alpha: float, uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return logarithms of Gamma(alpha), (W, C'), from uniform numbers (2, W, C'), smooth in alpha.

    Gamma(alpha + 1) * U^(1 / alpha), the first by its quantile, as in sizes.log_gamma.
    """
    from scipy.special import gammaincinv

    tiny = np.finfo(np.float64).tiny
    logs: NDArray[np.float64] = np.log(gammaincinv(alpha + 1, uniform[0]) + tiny)
    logs += np.log(uniform[1] + tiny) / alpha
    return logs
