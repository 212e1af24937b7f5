"""Rounds between workers over MPI: plans, reused for periodic links, and lost messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from algorithms.exchange.rounds import Routes, RowPlan, StartedPull, Weights, between_workers
from algorithms.exchange.shaper import Delays
from algorithms.exchange.trouble import Trouble
from algorithms.topologies.mixing import Mixing
from algorithms.topologies.protocol import Links
from algorithms.wire.meter import OTHER, Meter
from algorithms.wire.placement import Placement

if TYPE_CHECKING:
    from mpi4py import MPI

PLANS_KEPT = 64
"""Maximum number of rounds with reusable plans: enough for any period at 2^60 workers."""


class Rounds:
    """Rounds between the W workers of a placement; losses are drawn by their ids.

    encoded: rows of float32 travel as bfloat16, others as they are.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        placement: Placement,
        *,
        meter: Meter,
        trouble: Trouble,
        shaper: Delays | None,
        encoded: bool = False,
    ) -> None:
        self._comm, self._placement, self._encoded = comm, placement, encoded
        self._meter, self._trouble, self._shaper = meter, trouble, shaper
        self._plans: dict[tuple[Any, ...], tuple[Links | Mixing, list[RowPlan]]] = {}
        self.started = 0
        """Number of rounds started."""

    def start(
        self,
        routes: Callable[[Links, Placement], Routes],
        what: Links | Mixing,
        rows: NDArray[Any],
        out: NDArray[Any],
    ) -> StartedPull:
        """Start a round; plans of periodic links are reused, one for each round in flight."""
        self._meter.lap(OTHER)
        key = (routes, id(what), rows.shape[1], rows.dtype)
        links = what.links if isinstance(what, Mixing) else what
        idle: list[RowPlan] = []
        if links.again and not self._trouble.loses:
            if key not in self._plans:
                if len(self._plans) >= PLANS_KEPT:
                    del self._plans[next(iter(self._plans))]
                self._plans[key] = (
                    what,
                    idle,
                )  # keeps the links alive, so that their id stays unique
            idle = self._plans[key][1]
        plan = idle.pop() if idle else self._row_plan(routes, links, what, rows)
        self.started += 1
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

    @contextmanager
    def reliable(self) -> Iterator[None]:
        """Start rounds without lost messages."""
        trouble, self._trouble = self._trouble, Trouble.NONE
        try:
            yield
        finally:
            self._trouble = trouble

    def _row_plan(
        self,
        routes: Callable[[Links, Placement], Routes],
        links: Links,
        what: Links | Mixing,
        rows: NDArray[Any],
    ) -> RowPlan:
        ways, weights = routes(links, self._placement), None
        own, weight = (what.own, what.weight) if isinstance(what, Mixing) else (None, None)
        if self._trouble.loses:
            ids = self._placement.ids
            arrived = self._trouble.arrives(ids[ways.sender], ids[ways.receiver], self.started)
            ways = ways.only(arrived)
            if own is not None and weight is not None:  # a worker keeps its own share of a lost row
                lost = np.bincount(links.target[~arrived], weight[~arrived], links.total)
                own, weight = own + lost, weight[arrived]
        if own is not None and weight is not None:
            weights = Weights(own, weight, rows.dtype)
        encoded = self._encoded and rows.dtype == np.float32
        return RowPlan(ways, self._comm.rank, rows.shape[1], rows.dtype, weights, encoded=encoded)
