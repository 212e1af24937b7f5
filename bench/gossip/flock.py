"""Rounds of gossip between workers that learn nothing, and what they leave behind."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from algorithms.exchange import MPIExchange
from algorithms.push_sum import PushSum
from algorithms.topology import TOPOLOGIES
from bench.gossip.fit import Curve, squared_ratios
from bench.gossip.schema import Case
from bench.gossip.theory import contraction

if TYPE_CHECKING:
    from mpi4py import MPI

    from algorithms.protocol import Rows

START_STREAM = 3
"""Keeps the draws of the start apart from others of the same seed."""
RATE_ERROR = 0.015
"""A random topology is drawn again until the standard error of its rate is below this part."""
LEAST_RATIOS = 200
"""Rounds before that standard error means anything."""
WARM_ROUNDS, WARM_LINKS = 10, 2**20
"""Rounds before the timed ones; fewer, but a period at least, where they carry more links."""


@dataclass(frozen=True)
class Limits:
    """When a curve ends."""

    tolerance: float
    rounds: int
    seconds: float
    """Of one topology, all its curves together."""


@dataclass(frozen=True)
class Start:
    """Where the workers begin."""

    rows: Rows
    """(V, d) float64, this rank's workers, standard normal, drawn by (seed, worker)."""
    mean: NDArray[np.float64]
    """(d,) the mean over all W workers, which gossip conserves."""


def start(seed: int, total: int, ids: range, d: int) -> Start:
    """Draw all workers' starts, add them up in worker order, and keep those of `ids`."""
    rows, sums = np.empty((len(ids), d)), np.zeros(d)
    for worker in range(total):
        x = np.random.default_rng((seed, START_STREAM, worker)).standard_normal(d)
        sums += x
        if worker in ids:
            rows[worker - ids.start] = x
    return Start(rows, sums / total)


class StillWorkers:
    """Workers without data: gradient and update do nothing, so that only gossip moves x."""

    def __init__(self, exchange: MPIExchange, rows: Rows) -> None:
        self.ids, self.total = exchange.ids, exchange.total
        self.x, self.g = rows.copy(), np.zeros_like(rows)
        self.samples = np.ones(self.total, np.int64)

    def gradient(self) -> NDArray[np.floating]:
        """Leave g at zero; the losses are zero, too."""
        return np.zeros(len(self.x))

    def update(self) -> None:
        """Leave x."""


class Flock:
    """Still workers that gossip by push-sum over one topology. Collective to build and to run."""

    def __init__(self, comm: MPI.Intracomm, exchange: MPIExchange, name: str, begin: Start) -> None:
        self._comm, self._exchange, self._start = comm, exchange, begin
        self._algorithm = PushSum(topology=name)
        self._workers = StillWorkers(exchange, begin.rows)
        self._state = self._algorithm.init(exchange, self._workers)
        shares = np.diff(exchange.bounds) + 1
        self._late = np.cumsum(shares) - 1
        self._mine, self._all = np.empty(shares[comm.rank]), np.empty(shares.sum())
        self._into = [self._all, shares.tolist()]
        self._first = self._distance(late=False)[0]

    def restart(self, k: int) -> None:
        """Put every worker back to its start, before round k of the topology."""
        self._workers.x[:] = self._start.rows
        self._state.w[:] = 1
        self._state.k = k

    def step(self) -> None:
        """Take a round."""
        self._algorithm.step(self._exchange, self._workers, self._state)

    def run(self, limits: Limits, deadline: float) -> tuple[Curve, NDArray[np.int64], bool]:
        """Gossip down to the tolerance, through the rounds, or until the deadline; collective.

        Returns the error after each round, equal on all ranks; (n, 4) int64, this rank's ns,
        bytes sent, bytes copied and messages of each round; and whether the deadline ended it.
        The error is evaluated between the rounds, untimed, and there the ranks meet.
        """
        meter, clock = self._exchange.meter, time.perf_counter_ns
        errors: list[float] = []
        counts = [(0, meter.bytes_sent, meter.bytes_copied, meter.messages)]
        late = False
        while not errors or not (
            late or errors[-1] <= limits.tolerance or len(errors) == limits.rounds
        ):
            began = clock()
            self.step()
            took = clock() - began
            counts.append((took, meter.bytes_sent, meter.bytes_copied, meter.messages))
            distance, late = self._distance(time.monotonic() > deadline)
            errors.append(distance / self._first)
        table = np.array(counts, np.int64)
        table[1:, 1:] = np.diff(table[:, 1:], axis=0)
        return np.array(errors), table[1:], late

    def _distance(self, late: bool) -> tuple[float, bool]:
        """Root mean square over all workers of |z_i - mean|, and whether rank 0 is late.

        Every rank adds up all workers' squares in worker order, so all get the same bits,
        wherever workers live; collective.
        """
        apart = self._workers.x - self._start.mean
        self._mine[:-1] = (apart * apart).sum(1)
        self._mine[-1] = late
        self._comm.Allgatherv(self._mine, self._into)
        squares = np.delete(self._all, self._late)
        return float(np.sqrt(squares.mean())), bool(self._all[self._late[0]])


def measure(
    comm: MPI.Intracomm, name: str, begin: Start, limits: Limits, *, total: int, seed: int
) -> Case:
    """Gossip over one topology; the case is whole on rank 0 and has that rank's counts elsewhere.

    Collective. A warm-up goes before, untimed: there the plans of a period's rounds are made, as
    a training run makes them once.
    """
    topology = TOPOLOGIES[name]()
    period = topology.period(total)
    deadline = time.monotonic() + limits.seconds
    with closing(MPIExchange(comm, total, dtype="float64", seed=seed)) as exchange:
        flock = Flock(comm, exchange, name, begin)
        links = [exchange.links(topology, k) for k in range(period or 1)]
        for _ in range(max(len(links), min(WARM_ROUNDS, WARM_LINKS // topology.size(total)))):
            flock.step()
        flock.restart(0)
        error, counts, late = flock.run(limits, deadline)
        again = [] if period or late else redraw(flock, error, limits, deadline)
    theory = contraction(topology, total) if comm.rank == 0 else 0.0
    return Case(
        topology=name,
        period=period or 0,
        degree_max=max(int(each.out_degree.max()) for each in links),
        theory_factor=theory,
        reached=bool(error[-1] <= limits.tolerance),
        error=error,
        counts=gather(comm, counts),
        redraws=again,
    )


def redraw(flock: Flock, error: Curve, limits: Limits, deadline: float) -> list[Curve]:
    """More curves of a random topology, each on new draws, until their mean is known; collective.

    A single curve does not show the mean square: it is one draw of few rounds.
    """
    ratios, k, late = squared_ratios([error]), len(error), False
    curves: list[Curve] = []
    while not late and (ratios.n < LEAST_RATIOS or ratios.rate_error() > RATE_ERROR):
        flock.restart(k)
        curve, _, late = flock.run(limits, deadline)
        ratios.add(curve)
        curves.append(curve)
        k += len(curve)
    return curves


def gather(comm: MPI.Intracomm, counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """(4, n, ranks) the counts of all ranks, on rank 0; collective."""
    every = np.empty((comm.size, *counts.shape), np.int64) if comm.rank == 0 else None
    comm.Gather(counts, every)
    return (counts[None] if every is None else every).transpose(2, 1, 0)
