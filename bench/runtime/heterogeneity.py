"""How far the gradients of the workers are apart where training starts.

Symbols: W workers, f_k the mean loss over shard k, f their mean over the workers, x the start,
g_k and g'_k two estimates of grad f_k from minibatches of their own, gbar and gbar' their means.

  zeta2    mean over k of |grad f_k(x) - grad f(x)|^2, the heterogeneity that bounds how much local
           steps and gossip lose: Koloskova, Loizou, Boreiri, Jaggi, Stich, "A Unified Theory of
           Decentralized SGD with Changing Topology and Local Updates", ICML 2020.  Estimated by the
           mean of (g_k - gbar) . (g'_k - gbar'), in which the noise of minibatches cancels: on
           identical shards it is near 0, of either sign
  sigma2   mean over k of |g_k - g'_k|^2 / 2, the noise of an estimate
  norm2    |grad f(x)|^2, estimated by gbar . gbar'

Shards smaller than the samples of both estimates have those in common: there the estimates are of
the shard itself, and sigma2 is small.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.runtime.workers import TrainingWorkers

if TYPE_CHECKING:
    from mpi4py import MPI

PROBED = 64
"""Samples of a worker behind each of its two estimates, at least."""
MOST = 2**28
"""Numbers that the estimates of a rank may take; beyond this nothing is measured."""

Average = Callable[[NDArray[np.floating]], NDArray[np.floating]]
"""The mean over all workers of the rows (V, d) of every rank, (d,); collective."""


@dataclass(frozen=True)
class Heterogeneity:
    """See the module; zeta2 per worker is (W,) float64."""

    zeta2: NDArray[np.float64]
    sigma2: float
    norm2: float

    def summary(self) -> dict[str, float]:
        """The scalars of a result file."""
        return {
            "gradient_zeta2": float(self.zeta2.mean()),
            "gradient_sigma2": self.sigma2,
            "gradient_norm2": self.norm2,
        }


def heterogeneity(
    comm: MPI.Intracomm,
    workers: TrainingWorkers,
    draw: Callable[[], NDArray[np.int64]],
    average: Average,
) -> Heterogeneity | None:
    """The heterogeneity at the workers' x, the same on every rank; collective.

    draw() gives the next minibatch of every worker, (V, b).  None where the gradients of a rank
    are too many to keep.  Leaves g zero and x as it was.
    """
    g = workers.g
    if max(comm.allgather(g.size)) > MOST:
        return None

    def estimate() -> NDArray[np.floating]:
        total, drawn = np.zeros_like(g), 0
        while drawn < PROBED:
            indices = draw()
            workers.probe(indices)
            total += g
            drawn += indices.shape[1]
        total /= drawn // indices.shape[1]
        return total

    one, other = estimate(), estimate()
    g[:] = 0
    mean, other_mean = (average(rows).astype(np.float64) for rows in (one, other))
    rows = [
        ((a - mean) @ (b - other_mean), ((a - b).astype(np.float64) ** 2).sum() / 2)
        for a, b in zip(one, other, strict=True)
    ]
    zeta2, sigma2 = np.array([row for part in comm.allgather(rows) for row in part]).T
    return Heterogeneity(zeta2, float(sigma2.mean()), float(mean @ other_mean))
