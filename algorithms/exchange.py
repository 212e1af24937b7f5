"""The Exchange over MPI: rows between workers, wherever they live."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from algorithms.collectives import ALLREDUCES
from algorithms.collectives.auto import Auto
from algorithms.collectives.tree import TreeSum
from algorithms.meter import COPY, OTHER, Meter
from algorithms.pull import PullPlan, StartedPull
from algorithms.topology import Links, Topology

if TYPE_CHECKING:
    from mpi4py import MPI

    from algorithms.protocol import AllReduce, Rows

TOPOLOGY_STREAM = 2
"""Keeps the draws of random topologies apart from others of the same seed."""
PLANS_KEPT = 64
"""Pull plans remembered: enough for every round of a periodic topology at 2^60 workers."""


class MPIExchange:
    """The Exchange between the W workers of all ranks of `comm`; see algorithms.protocol.

    Rank r of p hosts the workers [r W // p, (r + 1) W // p). Collective to build and to close.
    Errors: ValueError where W is smaller than the number of ranks.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        total: int,
        *,
        allreduce: str = "recursive_doubling",
        dtype: str = "float32",
        seed: int = 0,
        meter: Meter | None = None,
    ) -> None:
        if total < comm.size:
            raise ValueError(
                f"workers must be at least the number of ranks, {comm.size}, got {total}: "
                "every rank hosts one or more"
            )
        self.bounds = [r * total // comm.size for r in range(comm.size + 1)]
        self.ids = range(self.bounds[comm.rank], self.bounds[comm.rank + 1])
        self.total = total
        self.meter = meter or Meter()
        self._comm = comm.Dup()
        self._allreduce = ALLREDUCES[allreduce]
        self._dtype = np.dtype(dtype)
        self._seed = seed
        self._averages: dict[int, Average] = {}
        self._homes: dict[int, tuple[Rows, Average]] = {}
        self._schedule: dict[tuple[Topology, int], Links] = {}
        self._pulls: dict[tuple[int, int], tuple[Links, PullPlan]] = {}
        self.chosen: dict[int, Auto] = {}
        """What the all-reduce `auto` took, by the bytes of a vector."""

    def rows(self, d: int) -> Rows:
        """Zeroed (V, d); with one worker a rank, the very memory the all-reduce works in.

        Plans what `mean` of such rows needs.
        """
        if self.total > self._comm.size:
            self._planned(d)
            return np.zeros((len(self.ids), d), self._dtype)
        average = self._average(d)
        rows = average.vector.reshape(1, d)
        self._homes[id(rows)] = (rows, average)
        return rows

    def mean(self, rows: Rows, out: NDArray[np.floating] | None = None) -> None:
        """Replace every row, or set out, (d,), to the mean over all W workers; collective."""
        self.meter.lap(OTHER)
        if self.total == 1:
            if out is not None:
                out[:] = rows[0]
        elif out is None and id(rows) in self._homes:
            self._homes[id(rows)][1].in_place()
        else:
            self._planned(rows.shape[1])(rows, rows if out is None else out)
        self.meter.lap(COPY)

    def links(self, topology: Topology, k: int) -> Links:
        """Who sends to whom at round k: a function of (topology, W, k, seed)."""
        period = topology.period(self.total)
        if period is None:
            return topology.links(self.total, k, self._rng(k))
        key = (topology, k % period)
        if key not in self._schedule:
            self._schedule[key] = topology.links(self.total, k % period, self._rng(k % period))
        return self._schedule[key]

    def pull(self, rows: Rows, links: Links, out: Rows) -> None:
        """Set out[i] to the sum of the rows of the workers that send to i; collective."""
        self.start_pull(rows, links, out).finish()

    def start_pull(self, rows: Rows, links: Links, out: Rows) -> StartedPull:
        """Begin a pull; rows and out belong to it until `finish`."""
        self.meter.lap(OTHER)
        plan = self._pull_plan(links, rows)
        requests = plan.start(self._comm, rows, out, self.meter)
        return StartedPull(plan, requests, rows, out, self.meter)

    def close(self) -> None:
        """Release windows and the communicator; collective. Rows must not be used afterwards."""
        for average in [*self._averages.values(), *(a for _, a in self._homes.values())]:
            average.plan.close()
        self._averages, self._homes = {}, {}
        self._comm.Free()

    def _rng(self, k: int) -> np.random.Generator:
        return np.random.default_rng((self._seed, TOPOLOGY_STREAM, k))

    def _planned(self, d: int) -> Average:
        if d not in self._averages:
            self._averages[d] = self._average(d)
        return self._averages[d]

    def _average(self, d: int) -> Average:
        plan: AllReduce = self._allreduce(self._comm, d, self._dtype, self.bounds, self.meter)
        if isinstance(plan, Auto):
            self.chosen.setdefault(d * self._dtype.itemsize, plan)
            plan = plan.plan
        return Average(plan, self.total, self.meter)

    def _pull_plan(self, links: Links, rows: Rows) -> PullPlan:
        key = (id(links), rows.shape[1])
        if key not in self._pulls:
            if len(self._pulls) >= PLANS_KEPT:
                del self._pulls[next(iter(self._pulls))]
            plan = PullPlan(links, self.bounds, self._comm.rank, rows.shape[1], rows.dtype)
            self._pulls[key] = (links, plan)  # holds the links: their id stays theirs
        return self._pulls[key][1]


class Average:
    """The mean over all workers of (V, d) rows: sums inside the rank, then an all-reduce."""

    def __init__(self, plan: AllReduce, total: int, meter: Meter) -> None:
        self.plan, self._total, self._meter = plan, total, meter
        self.vector = plan.parts[0]
        """(d,) where the mean lies after a call."""
        lo = plan.spans[0][0]
        self._sums = [
            (
                TreeSum(total, span, self.vector.size, self.vector.dtype),
                slice(span[0] - lo, span[1] - lo),
            )
            for span in plan.spans
        ]

    def in_place(self) -> None:
        """Average what lies in `vector` on every rank."""
        self.plan(self._total)

    def __call__(self, rows: Rows, out: NDArray[np.floating]) -> None:
        """Set out, (d,) or every row of (V, d), to the mean of rows over all workers."""
        for part, (add_up, span) in zip(self.plan.parts, self._sums, strict=True):
            add_up(rows[span], part)
        self._meter.lap(COPY)
        self.plan(self._total)
        out[...] = self.vector
        crossings = len(rows) - 1 + (len(rows) - 1 if out.ndim == 2 else 0)
        self._meter.bytes_copied += crossings * self.vector.nbytes
