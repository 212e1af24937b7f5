"""Rounds of gossip between workers that learn nothing, and what they leave behind."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from algorithms.exchange.mpi import MPIExchange
from algorithms.protocol import Layer, Ready, consecutive_layers
from algorithms.push_sum import PushSum
from algorithms.topologies.protocol import Topology
from bench.results.rounds import Curve

if TYPE_CHECKING:
    from mpi4py import MPI

    from algorithms.protocol import Rows

START_STREAM = 3
"""Keeps the draws of the start apart from others of the same seed."""


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
        self.layers: Sequence[Layer] = consecutive_layers([rows.shape[1:]])

    def gradient(self, ready: Ready | None = None) -> NDArray[np.floating]:
        """Leave g at zero, final at once; the losses are zero, too."""
        if ready:
            ready(0, self.g.shape[1])
        return np.zeros(len(self.x))

    def update(self) -> None:
        """Leave x."""


class Flock:
    """Still workers that gossip by push-sum over one topology. Collective to build and to run."""

    def __init__(
        self, comm: MPI.Intracomm, exchange: MPIExchange, topology: Topology, begin: Start
    ) -> None:
        self._comm, self._exchange, self._start = comm, exchange, begin
        self._algorithm = PushSum(topology=topology)
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

    def run(
        self, limits: Limits, deadline: float, *, held: bool = False
    ) -> tuple[Curve, NDArray[np.int64], bool]:
        """Gossip down to the tolerance, through the rounds, or until the deadline; collective.

        Returns the error after each round, equal on all ranks; (n, 4) int64, this rank's ns,
        bytes sent, bytes copied and messages of each round; and whether the deadline ended it.
        The error is evaluated between the rounds, untimed, and there the ranks meet. With `held`
        it is that of what workers hold, x_i = w_i z_i, against w_i mean.
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
            distance, late = self._distance(time.monotonic() > deadline, held=held)
            errors.append(distance / self._first)
        table = np.array(counts, np.int64)
        table[1:, 1:] = np.diff(table[:, 1:], axis=0)
        return np.array(errors), table[1:], late

    def _distance(self, late: bool, *, held: bool = False) -> tuple[float, bool]:
        """Root mean square over all workers of |z_i - mean|, and whether rank 0 is late.

        With `held` of |w_i (z_i - mean)|.

        Every rank adds up all workers' squares in worker order, so all get the same bits,
        wherever workers live; collective.
        """
        apart = self._workers.x - self._start.mean
        if held:
            apart *= self._state.w
        self._mine[:-1] = (apart * apart).sum(1)
        self._mine[-1] = late
        self._comm.Allgatherv(self._mine, self._into)
        squares = np.delete(self._all, self._late)
        return float(np.sqrt(squares.mean())), bool(self._all[self._late[0]])
