"""All rounds of an Exchange: rows between workers or along links, summed, mixed or kept apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from algorithms.exchange.pull import RowPlan, StartedPull, Weights
from algorithms.exchange.routes import Routes, between_workers
from algorithms.exchange.shaper import Shaper
from algorithms.exchange.trouble import Trouble
from algorithms.topologies.links import Links
from algorithms.topologies.mixing import Mixing
from algorithms.wire.meter import OTHER, Meter

if TYPE_CHECKING:
    from mpi4py import MPI

PLANS_KEPT = 64
"""Rounds whose plans are remembered: enough for every periodic topology at 2^60 workers."""


class Rounds:
    """Rounds between the W workers of all ranks; rank r hosts [bounds[r], bounds[r + 1])."""

    def __init__(
        self,
        comm: MPI.Intracomm,
        bounds: list[int],
        *,
        meter: Meter,
        trouble: Trouble,
        shaper: Shaper | None,
    ) -> None:
        self._comm, self._bounds = comm, bounds
        self._meter, self._trouble, self._shaper = meter, trouble, shaper
        self._plans: dict[tuple[Any, ...], tuple[Links | Mixing, list[RowPlan]]] = {}
        self.turn = 0
        """Rounds that were begun."""

    def start(
        self,
        routes: Callable[[Links, list[int]], Routes],
        what: Links | Mixing,
        rows: NDArray[Any],
        out: NDArray[Any],
    ) -> StartedPull:
        """Begin a round; plans of links that come again are kept, one for each in flight."""
        self._meter.lap(OTHER)
        key = (routes, id(what), rows.shape[1], rows.dtype)
        links = what.links if isinstance(what, Mixing) else what
        idle: list[RowPlan] = []
        if links.again and not self._trouble.drop:
            if key not in self._plans:
                if len(self._plans) >= PLANS_KEPT:
                    del self._plans[next(iter(self._plans))]
                self._plans[key] = (what, idle)  # holds the links: their id stays theirs
            idle = self._plans[key][1]
        plan = idle.pop() if idle else self._row_plan(routes, links, what, rows)
        self.turn += 1
        return StartedPull(
            plan,
            rows,
            out,
            comm=self._comm,
            meter=self._meter,
            shaper=self._shaper,
            keep=routes is not between_workers,
            done=lambda: idle.append(plan),
        )

    def _row_plan(
        self,
        routes: Callable[[Links, list[int]], Routes],
        links: Links,
        what: Links | Mixing,
        rows: NDArray[Any],
    ) -> RowPlan:
        ways, weights = routes(links, self._bounds), None
        own, weight = (what.own, what.weight) if isinstance(what, Mixing) else (None, None)
        if self._trouble.drop:
            kept = self._trouble.arrives(ways.sender, ways.receiver, self.turn)
            ways = ways.only(kept)
            if own is not None and weight is not None:  # what is lost, a worker keeps of its own
                lost = np.bincount(links.target[~kept], weight[~kept], links.total)
                own, weight = own + lost, weight[kept]
        if own is not None and weight is not None:
            weights = Weights(own, weight, rows.dtype)
        return RowPlan(ways, self._comm.rank, rows.shape[1], rows.dtype, weights)
