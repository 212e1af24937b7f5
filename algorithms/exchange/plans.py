"""Rounds between workers over MPI: plans, reused for periodic links, and lost messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from algorithms.exchange.rounds import Gossip, Routes, Weights, between_workers
from algorithms.exchange.shaper import Delays
from algorithms.exchange.trouble import Trouble
from algorithms.topologies.mixing import Mixing
from algorithms.topologies.protocol import Links
from algorithms.wire.carrier import Handle
from algorithms.wire.meter import OTHER, WAIT, Meter
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
        self._plans: dict[tuple[Any, ...], list[Gossip]] = {}
        self.started = 0
        """Number of rounds started."""

    def start(
        self,
        routes: Callable[[Links, Placement], Routes],
        what: Links | Mixing,
        rows: NDArray[Any],
        out: NDArray[Any],
    ) -> Handle:
        """Start a round; plans of periodic links are reused, one for each round in flight."""
        self._meter.lap(OTHER)
        key = (routes, what, rows.shape[1], rows.dtype)
        links = what.links if isinstance(what, Mixing) else what
        idle: list[Gossip] | None = None
        if links.again and not self._trouble.loses:
            idle = self._plans.get(key)
            if idle is None:
                if len(self._plans) >= PLANS_KEPT:
                    self._release(next(iter(self._plans)))
                idle = self._plans[key] = []
        plan = idle.pop() if idle else self._plan(routes, links, what, rows, out)
        self.started += 1
        plan.bind(rows, out)
        plan.start()
        if plan.messages:
            self._meter.lap(WAIT)
        due = None
        if self._shaper:
            due = self._shaper.send(plan.routes.sender, plan.routes.receiver, plan.row_bytes)
        done = plan.close if idle is None else partial(idle.append, plan)
        return Handle(plan, out, self._meter, due, done)

    def _release(self, key: tuple[Any, ...]) -> None:
        for plan in self._plans.pop(key):
            plan.close()

    def close(self) -> None:
        """Release the requests of all plans."""
        for key in list(self._plans):
            self._release(key)

    @contextmanager
    def reliable(self) -> Iterator[None]:
        """Start rounds without lost messages."""
        trouble, self._trouble = self._trouble, Trouble.NONE
        try:
            yield
        finally:
            self._trouble = trouble

    def _plan(
        self,
        routes: Callable[[Links, Placement], Routes],
        links: Links,
        what: Links | Mixing,
        rows: NDArray[Any],
        out: NDArray[Any],
    ) -> Gossip:
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
        return Gossip(
            self._comm,
            ways,
            rows,
            out,
            self._meter,
            weights,
            keep=routes is not between_workers,
            encoded=encoded,
        )
