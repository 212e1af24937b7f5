"""One topology measured: its rounds, further draws where it is random, and what theory says."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from algorithms.exchange.mpi import MPIExchange
from algorithms.topologies import TOPOLOGIES
from algorithms.topologies.protocol import Topology
from algorithms.topologies.theory import contraction
from bench.common.spec import INNER, format_spec
from bench.consensus.flock import Flock, Limits, Start
from bench.results.convergence import RATE_ERROR, SquaredRatios
from bench.results.rounds import Case, Curve

if TYPE_CHECKING:
    from mpi4py import MPI

LEAST_RATIOS = 200
"""Rounds before that standard error means anything."""
WARM_ROUNDS, WARM_LINKS = 10, 2**20
"""Rounds before the timed ones; fewer, but a period at least, where they carry more links."""


def measure(
    comm: MPI.Intracomm, topology: Topology, begin: Start, limits: Limits, *, total: int, seed: int
) -> Case:
    """Gossip over one topology; the case is whole on rank 0 and has that rank's counts elsewhere.

    Collective. A warm-up goes before, untimed: there the plans of a period's rounds are made, as
    a training run makes them once.
    """
    period = topology.period(total)
    deadline = time.monotonic() + limits.seconds
    with closing(MPIExchange(comm, total, dtype="float64", seed=seed)) as exchange:
        flock = Flock(comm, exchange, topology, begin)
        links = [exchange.links(topology, k) for k in range(period or 1)]
        for _ in range(max(len(links), min(WARM_ROUNDS, WARM_LINKS // topology.size(total)))):
            flock.step()
        flock.restart(0)
        error, counts, late = flock.run(limits, deadline)
        again = [] if period or late else redraw(flock, len(error), limits, deadline)
    theory = contraction(topology, total) if comm.rank == 0 else 0.0
    return Case(
        topology=format_spec(topology, TOPOLOGIES, INNER),
        period=period or 0,
        degree_max=max(int(each.out_degree.max()) for each in links),
        theory_factor=theory,
        reached=bool(error[-1] <= limits.tolerance),
        error=error,
        counts=gather(comm, counts),
        redraws=again,
    )


def redraw(flock: Flock, k: int, limits: Limits, deadline: float) -> list[Curve]:
    """Curves of a random topology on the draws from round k on, until their mean is known.

    A single curve does not show the mean square: it is one draw of few rounds. And the theory is
    of what workers hold; z_i moves with the weight w_i, too, where not all hear from as many.
    Collective.
    """
    ratios, late = SquaredRatios(), False
    curves: list[Curve] = []
    while not late and (ratios.n < LEAST_RATIOS or ratios.rate_error() > RATE_ERROR):
        flock.restart(k)
        curve, _, late = flock.run(limits, deadline, held=True)
        ratios.add(curve)
        curves.append(curve)
        k += len(curve)
    return curves


def gather(comm: MPI.Intracomm, counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """(4, n, ranks) the counts of all ranks, on rank 0; collective."""
    every = np.empty((comm.size, *counts.shape), np.int64) if comm.rank == 0 else None
    comm.Gather(counts, every)
    return (counts[None] if every is None else every).transpose(2, 1, 0)
