"""Gossip over one topology between workers without data: rounds, further draws, theory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from algorithms.exchange.clock import ModelClock
from algorithms.exchange.compute import Compute
from algorithms.exchange.mpi import MPIExchange
from algorithms.exchange.trouble import Trouble
from algorithms.protocol import Layer, Ready, Workers, consecutive_layers
from algorithms.push_sum import PushSum
from algorithms.topologies import TOPOLOGIES
from algorithms.topologies.protocol import Topology
from algorithms.topologies.theory import contraction
from bench.common.spec import INNER, format_spec
from bench.results.convergence import RATE_ERROR, SquaredRatios
from bench.results.rounds import Case, Curve

if TYPE_CHECKING:
    from mpi4py import MPI

    from algorithms.protocol import Rows

START_STREAM = 3
"""Random stream of the start, distinct from other streams of the same seed."""
LEAST_RATIOS = 200
"""Smallest number of rounds for a meaningful standard error."""
WARM_ROUNDS, WARM_LINKS = 10, 2**20
"""Warm-up rounds, and the links that limit them; at least one period in any case."""


@dataclass(frozen=True)
class Limits:
    """End of a curve: tolerance of the error, number of rounds, or time."""

    tolerance: float
    rounds: int
    seconds: float
    """Time of one topology, for all its curves together."""


@dataclass(frozen=True)
class Start:
    """Random start of all workers."""

    rows: Rows
    """(V, d) float64, rows of this rank's workers, standard normal by (seed, worker)."""
    mean: NDArray[np.float64]
    """(d,) float64, mean over all W workers, which gossip conserves."""


def draw_start(seed: int, total: int, ids: range, d: int) -> Start:
    """Draw the rows of all workers, sum them in worker order, and return those of `ids`."""
    rows, sums = np.empty((len(ids), d)), np.zeros(d)
    for worker in range(total):
        x = np.random.default_rng((seed, START_STREAM, worker)).standard_normal(d)
        sums += x
        if worker in ids:
            rows[worker - ids.start] = x
    return Start(rows, sums / total)


class StillWorkers(Workers):
    """Workers without data: gradient and update do nothing, so that gossip alone changes x."""

    def __init__(self, exchange: MPIExchange, rows: Rows) -> None:
        self.ids, self.total = exchange.ids, exchange.total
        self.x, self.g = rows.copy(), np.zeros_like(rows)
        self.samples = np.ones(self.total, np.int64)
        self.layers: Sequence[Layer] = consecutive_layers([rows.shape[1:]])

    def gradient(self, ready: Ready | None = None) -> NDArray[np.floating]:
        """Return zero losses; g stays zero and is ready at once."""
        if ready:
            ready(0, self.g.shape[1])
        return np.zeros(len(self.x))

    def update(self) -> None:
        """Leave x unchanged."""


class Gossip:
    """Push-sum of workers without data over one topology; collective to build and to run."""

    def __init__(
        self, comm: MPI.Intracomm, exchange: MPIExchange, topology: Topology, start: Start
    ) -> None:
        self._comm, self._exchange, self._start = comm, exchange, start
        self._algorithm = PushSum(topology=topology)
        self._workers = StillWorkers(exchange, start.rows)
        self._state = self._algorithm.init(exchange, self._workers)
        shares = np.diff(exchange.placement.bounds) + 1
        self._late_slots = np.cumsum(shares) - 1
        self._own, self._all = np.empty(shares[comm.rank]), np.empty(shares.sum())
        self._receive = [self._all, shares.tolist()]
        self._first = self._distance(late=False)[0]

    def restart(self, k: int) -> None:
        """Reset every worker to its start, before round k of the topology."""
        self._workers.x[:] = self._start.rows
        self._state.w[:] = 1
        self._state.k = k
        if self._exchange.clock:
            self._exchange.clock.reset()

    def step(self) -> None:
        """Run one round."""
        self._algorithm.step(self._exchange, self._workers, self._state)

    def run(
        self, limits: Limits, deadline: float, *, weighted: bool = False
    ) -> tuple[Curve, NDArray[np.int64], bool]:
        """Gossip until the tolerance, the number of rounds or the deadline; collective.

        Returns the error after each round, equal on all ranks; this rank's ns, bytes sent, bytes
        copied and messages of each round, (n, 4) int64; and True if the deadline ended it. The
        error is evaluated between the rounds, untimed, with a synchronisation of the ranks. It is
        that of z_i or, if `weighted`, of x_i = w_i z_i against w_i mean.
        """
        meter, model = self._exchange.meter, self._exchange.clock
        clock = model.elapsed_ns if model else time.perf_counter_ns
        errors: list[float] = []
        counts = [(0, meter.bytes_sent, meter.bytes_copied, meter.messages)]
        late = False
        while not errors or not (
            late or errors[-1] <= limits.tolerance or len(errors) == limits.rounds
        ):
            start = clock()
            self.step()
            elapsed = clock() - start
            counts.append((elapsed, meter.bytes_sent, meter.bytes_copied, meter.messages))
            distance, late = self._distance(time.monotonic() > deadline, weighted=weighted)
            errors.append(distance / self._first)
        table = np.array(counts, np.int64)
        table[1:, 1:] = np.diff(table[:, 1:], axis=0)
        return np.array(errors), table[1:], late

    def _distance(self, late: bool, *, weighted: bool = False) -> tuple[float, bool]:
        """Return the root mean square of |z_i - mean|, and the lateness of rank 0; collective.

        weighted: of |w_i (z_i - mean)|. Every rank sums the squares of all workers in worker
        order, so that all get the same bits for every placement.
        """
        deviation = self._workers.x - self._start.mean
        if weighted:
            deviation *= self._state.w
        self._own[:-1] = (deviation * deviation).sum(1)
        self._own[-1] = late
        self._comm.Allgatherv(self._own, self._receive)
        squares = np.delete(self._all, self._late_slots)
        return float(np.sqrt(squares.mean())), bool(self._all[self._late_slots[0]])


def measure(
    comm: MPI.Intracomm,
    topology: Topology,
    start: Start,
    limits: Limits,
    *,
    total: int,
    seed: int,
    trouble: Trouble | None = None,
) -> Case:
    """Gossip over one topology; the case is complete on rank 0; collective.

    trouble: links of the model clock, which then measures the rounds.

    Other ranks get their own counts. An untimed warm-up makes the plans of all rounds of a period,
    as a training run makes them once.
    """
    period = topology.period(total)
    deadline = time.monotonic() + limits.seconds
    clock = ModelClock(total, Compute("0s"), trouble) if trouble else None
    with closing(MPIExchange(comm, total, dtype="float64", seed=seed, clock=clock)) as exchange:
        gossip = Gossip(comm, exchange, topology, start)
        links = [exchange.links(topology, k) for k in range(period or 1)]
        for _ in range(max(len(links), min(WARM_ROUNDS, WARM_LINKS // topology.size(total)))):
            gossip.step()
        gossip.restart(0)
        error, counts, late = gossip.run(limits, deadline)
        redraws = [] if period or late else redraw(gossip, len(error), limits, deadline)
    theory = contraction(topology, total) if comm.rank == 0 else 0.0
    return Case(
        topology=format_spec(topology, TOPOLOGIES, INNER),
        period=period or 0,
        degree_max=max(int(each.out_degree.max()) for each in links),
        theory_factor=theory,
        reached=bool(error[-1] <= limits.tolerance),
        error=error,
        counts=gather(comm, counts),
        redraws=redraws,
    )


def redraw(gossip: Gossip, k: int, limits: Limits, deadline: float) -> list[Curve]:
    """Return curves of a random topology from round k on, until their mean converges; collective.

    One curve does not show the mean square, as it is one draw of few rounds. The theory holds for
    the weighted error, since z_i also moves with the weight w_i if in-degrees differ.
    """
    ratios, late = SquaredRatios(), False
    curves: list[Curve] = []
    while not late and (ratios.n < LEAST_RATIOS or ratios.rate_error() > RATE_ERROR):
        gossip.restart(k)
        curve, _, late = gossip.run(limits, deadline, weighted=True)
        ratios.add(curve)
        curves.append(curve)
        k += len(curve)
    return curves


def gather(comm: MPI.Intracomm, counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the counts of all ranks, (4, n, ranks), on rank 0; collective."""
    gathered = np.empty((comm.size, *counts.shape), np.int64) if comm.rank == 0 else None
    comm.Gather(counts, gathered)
    return (counts[None] if gathered is None else gathered).transpose(2, 1, 0)
