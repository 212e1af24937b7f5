"""Change of the membership: move a training to the workers that are alive.

Everything is moved by what it is made of: rows by worker stay with their worker, arrays and numbers
that all workers share are copied, and what follows from the links between workers begins again.
The algorithm completes what is on its way before, and restores its invariants afterwards.

A worker that returns takes x and the memory of the optimiser from the mean over the workers that
stayed, or from a neighbour: with a memory of zero, workers that hold one model would part for ever.
The rest of its State begins as `init` sets it, so that its weights are those of one worker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from algorithms.exchange.membership import MEAN, NEIGHBOUR
from algorithms.exchange.mpi import MPIExchange
from algorithms.protocol import Algorithm
from algorithms.topologies.protocol import Links
from algorithms.wire.meter import OTHER
from algorithms.wire.placement import Placement
from bench.runtime.checkpoint.state import memory, state
from bench.runtime.workers import TrainingWorkers

if TYPE_CHECKING:
    from mpi4py import MPI


@dataclass
class Epoch:
    """A training in its present epoch: the members, and the objects built for them."""

    placement: Placement
    exchange: MPIExchange
    workers: TrainingWorkers
    state: Any = None

    def close(self) -> None:
        """Release workers and exchange; collective."""
        self.workers.close()
        self.exchange.close()


def change(
    comm: MPI.Intracomm,
    epoch: Epoch,
    placement: Placement,
    algorithm: Algorithm,
    build: Callable[[Placement], tuple[MPIExchange, TrainingWorkers]],
    start: str = MEAN,
) -> None:
    """Move a training to other members, and close the exchange of the former; collective.

    placement: fewer members or more, not both. build: of exchange and workers at the common start,
    collective. start: `mean` or `neighbour`, for workers that return.
    """
    before = replace(epoch)
    with before.exchange.reliable():
        algorithm.settle(before.exchange, before.workers, before.state)
    if clock := before.exchange.clock:
        clock.change(placement.ids)
    exchange, workers = build(placement)
    workers.losses = np.full(len(workers.ids), np.nan)
    exchange.rounds_started, workers.drawn = before.exchange.rounds_started, before.workers.drawn
    new = ~np.isin(placement.ids, before.placement.ids)
    taking = Taking(comm, before.placement, placement, exchange, new)
    own = {"x": before.workers.x, "optimizer": before.workers.optimizer_state}
    now = {"x": workers.x, "optimizer": workers.optimizer_state}
    with exchange.reliable():
        taking.move(own, now, start)
        fresh = algorithm.init(exchange, workers)
        taking.move({"state": before.state}, {"state": fresh}, "")
        algorithm.rebalance(exchange, workers, fresh, taking.new_here)
    workers.losses[taking.stays] = before.workers.losses[taking.stayed]
    epoch.placement, epoch.exchange, epoch.workers, epoch.state = (
        placement,
        exchange,
        workers,
        fresh,
    )
    before.exchange.close()
    exchange.meter.lap(OTHER)  # the change is not part of the next step


class Taking:
    """Rows of one epoch for the next one.

    new: (members,) mask of the members that were not alive before.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        before: Placement,
        after: Placement,
        exchange: MPIExchange,
        new: NDArray[np.bool_],
    ) -> None:
        self._comm, self._exchange, self._new = comm, exchange, new
        self._before, self._after = before, after
        old, now = (x.ids[slice(*x.span(comm.rank))] for x in (before, after))
        _, self.stayed, self.stays = np.intersect1d(old, now, return_indices=True)
        self._whole = np.intersect1d(before.ids, after.ids, return_indices=True)[1:]
        self.new_here: NDArray[np.bool_] = new[list(exchange.ids)]

    def move(self, before: Mapping[str, Any], now: Mapping[str, Any], start: str) -> None:
        """Set the arrays and numbers of `now` to those of `before`; collective.

        start: source of the rows of new members; empty: they stay, but for INHERITED fields.
        """
        without = ("scratch", "fresh")
        former, content = state(before, without), state(now, without)
        plain = state(now, (*without, "inherited")).arrays
        paths = [path for path in content.arrays if path in former.arrays]
        lengths = {x: (_length(former.arrays[x]), _length(content.arrays[x])) for x in paths}
        everywhere = self._comm.allgather(lengths)
        for path in paths:
            with memory(former.arrays[path]) as old, memory(content.arrays[path]) as rows:
                by_worker = self._move(old, rows, [x[path] for x in everywhere])
                source = start if path in plain else NEIGHBOUR
                if by_worker and source and self._new.any():
                    self._take_over(rows, source)
        for path, place in content.numbers.items():
            if path in former.numbers:
                place.set(former.numbers[path].get())

    def _move(self, old: NDArray[Any], rows: NDArray[Any], lengths: list[tuple[int, int]]) -> bool:
        """Copy an array by its lengths on all ranks, (before, now); return True for rows."""
        sizes = [tuple(np.diff(x.bounds).tolist()) for x in (self._before, self._after)]
        totals = [(self._before.total, self._after.total)] * len(lengths)
        if lengths == list(zip(*sizes, strict=True)):
            rows[self.stays] = old[self.stayed]
            return True
        if lengths == totals:
            rows[self._whole[1]] = old[self._whole[0]]
        elif all(a == b for a, b in lengths):
            rows[...] = old
        return False  # others follow from the links: they are those of `init`

    def _take_over(self, rows: NDArray[Any], source: str) -> None:
        """Set the rows of new members to the mean over the others, or to a neighbour's."""
        if source == MEAN and np.issubdtype(rows.dtype, np.floating):
            rows[self.new_here] = self._mean(rows)
            return
        members = len(self._new)
        target = self._new.nonzero()[0]
        old = (~self._new).nonzero()[0]
        donors = old[np.searchsorted(old, target) % len(old)]
        links = Links(members, donors, target)
        flat = np.ascontiguousarray(rows.reshape(len(rows), -1))
        came = np.empty((int(self.new_here.sum()), flat.shape[1]), rows.dtype)
        self._exchange.deliver(flat, links, came)
        rows.reshape(len(rows), -1)[self.new_here] = came

    def _mean(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the mean over the members that stayed; the very row where all are equal."""
        first = int((~self._new).argmax())
        rank = self._exchange.placement.rank_of(first)
        here = first - self._exchange.ids.start
        base = np.array(rows[here] if rank == self._comm.rank else np.empty_like(rows[0]))
        self._comm.Bcast(base, rank)
        apart = (rows - base).reshape(len(rows), -1)
        apart[self.new_here] = 0
        mean = np.empty_like(apart[0])
        self._exchange.mean(apart, out=mean)
        mean *= len(self._new) / (~self._new).sum()
        base += mean.reshape(base.shape)
        return base


def _length(array: Any) -> int:
    with memory(array) as values:
        return len(values)
