"""Asynchronous algorithms under the model clock: worker by worker, in the order of model time.

Every worker is alone: it has an exchange and a State of its own, and its step is that of the
algorithm for one worker. Who accesses which memory in a step does not depend on the values of
parameters. So every rank takes each step of every worker without its rows first, and knows from
this rehearsal the gradients and accesses of the step, and their times:

    1. of all workers, the one whose next step has the earliest access continues, at equal times
       that of the lowest id; a step without access counts by its end
    2. the clock adds the gradients and the accesses of the step
    3. the rank of the worker takes the step; ranks with other rows of it send and receive them

The accesses of a step take effect together. Costs, with latency alpha, bandwidth 1 / beta, N bytes
of a row, W workers:

    average     locks both rows from its begin to its end, gets one and puts it: 4 alpha + 2 N beta,
                after the averages that have locked one of the rows
    vector      each worker stores a slice of N / W bytes and begins with the slice after its own,
                so that accesses pass each other: (W - 1) (4 alpha + 2 N beta / W) for a change,
                half of it to read
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from heapq import heapify, heapreplace
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from algorithms.exchange.mpi import MPIExchange
from algorithms.exchange.ordered import (
    AVERAGE,
    CHANGE,
    GRADIENT,
    LOCK,
    Action,
    Alone,
    OrderedRows,
    OrderedVector,
    RowOf,
    Stage,
)
from algorithms.protocol import SCRATCH, Algorithm, Needs, Rows, Vector, Workers


class Separate(list[Any]):
    """One object per worker, of one dataclass; a checkpoint stores each of their fields as rows."""


@dataclass
class Course:
    """State of an asynchronous algorithm under the model clock."""

    own: Separate
    """State of each worker of this rank."""
    rehearsed: Separate
    """State of each of the W workers without rows, equal on all ranks."""
    gradients: NDArray[np.int64]
    """(W,) gradients that each worker has computed."""
    locked: NDArray[np.float64]
    """(W,) time until which an average has locked the row of each worker, s."""
    memories: Sequence[OrderedVector | OrderedRows] = field(metadata=SCRATCH)
    exchanges: Sequence[Alone] = field(metadata=SCRATCH)
    """Exchanges of the workers of this rank."""
    sizes: Sequence[int] = field(metadata=SCRATCH)
    """Bytes of a vector, or of a row of rows, by memory."""
    stage: Stage = field(metadata=SCRATCH)
    queue: list[tuple[float, int]] = field(metadata=SCRATCH, default_factory=list)
    """Time and worker of each next step, a heap; empty until the first step is rehearsed."""
    nexts: list[tuple[Any, list[Action]]] = field(metadata=SCRATCH, default_factory=list)
    """State after the next step, and its actions, of each worker."""
    algorithm: Algorithm | None = field(metadata=SCRATCH, default=None)
    """The algorithm of the rehearsed steps."""


class OneWorker(Workers, Protocol):
    """A worker of its own."""

    losses: NDArray[np.floating]
    """(1,) loss of its last minibatch."""
    drawn: int
    """Number of minibatches that it has drawn; assignable."""


class ApartWorkers(Workers, Protocol):
    """Workers of a rank that can step one by one."""

    losses: NDArray[np.floating]
    """(V,) losses of the last minibatches."""
    apart: Sequence[OneWorker]
    """Each worker of this rank, with its row of x and g."""


def in_order(algorithm: Algorithm, exchange: MPIExchange) -> Algorithm:
    """Return the algorithm as the model clock plays it; a synchronous one, or others, unchanged."""
    plays = algorithm.needs.asynchronous and exchange.clock is not None
    return InOrder(algorithm) if plays else algorithm


@dataclass(frozen=True)
class InOrder(Algorithm):
    """An asynchronous algorithm under the model clock; a step is W steps of single workers."""

    algorithm: Algorithm
    needs: ClassVar[Needs] = Needs()

    def init(self, exchange: MPIExchange, workers: ApartWorkers) -> Course:  # type: ignore[override]
        """Return the Course at time 0."""
        memories: list[OrderedVector | OrderedRows] = []
        sizes: list[int] = []

        def vector(number: int, start: Vector) -> OrderedVector:
            if number == len(memories):
                memories.append(OrderedVector(exchange.comm, start, exchange.meter))
                sizes.append(start.nbytes)
            memory = memories[number]
            assert isinstance(memory, OrderedVector)
            return memory

        def rows(worker: int, number: int, start: Rows) -> RowOf:
            if number == len(memories):
                whole = np.zeros((len(exchange.ids), start.shape[1]), start.dtype)
                memories.append(
                    OrderedRows(exchange.comm, whole, exchange.placement, exchange.meter)
                )
                sizes.append(start.nbytes)
            memory = memories[number]
            assert isinstance(memory, OrderedRows)
            row = memory.of(worker)
            with row.local() as here:
                here[:] = start
            return row

        stage = Stage(exchange)
        alone = [Alone(exchange, one.ids[0], vector, rows) for one in workers.apart]
        own = [
            self.algorithm.init(single, one)  # type: ignore[arg-type]
            for single, one in zip(alone, workers.apart, strict=True)
        ]
        rehearsed = [self.algorithm.init(*stage.of(i)) for i in range(exchange.total)]
        times = np.zeros(exchange.total)
        gradients = np.zeros(exchange.total, np.int64)
        return Course(
            Separate(own), Separate(rehearsed), gradients, times, memories, alone, sizes, stage
        )

    def step(self, exchange: MPIExchange, workers: ApartWorkers, state: Course) -> None:  # type: ignore[override]
        """Take W steps of workers in the order of model time; collective."""
        if state.algorithm is not self.algorithm:
            state.algorithm, state.nexts = self.algorithm, []
            for i in range(exchange.total):
                state.nexts.append(self._rehearse(exchange, state, i))
            state.queue = [(_due(exchange, state, i), i) for i in range(exchange.total)]
            heapify(state.queue)
        workers.losses = workers.losses.copy()  # recorders keep the last ones
        for _ in range(exchange.total):
            worker = state.queue[0][1]
            state.rehearsed[worker], actions = state.nexts[worker]
            before = int(state.gradients[worker])
            _advance(exchange, state, worker, actions)
            self._take(exchange, workers, state, worker, actions, before)
            state.nexts[worker] = self._rehearse(exchange, state, worker)
            heapreplace(state.queue, (_due(exchange, state, worker), worker))
        for memory in state.memories:
            if isinstance(memory, OrderedVector):
                memory.settle()

    def finish(self, exchange: MPIExchange, workers: ApartWorkers, state: Course) -> None:  # type: ignore[override]
        """Complete the exchanges of all workers in the order of their ids; collective."""
        for memory in state.memories:
            if isinstance(memory, OrderedVector):
                memory.end()
        first = state.own[0]
        merged = {
            each.name: _merged([getattr(one, each.name) for one in state.own])
            for each in fields(first)
        }
        self.algorithm.finish(exchange, workers, replace(first, **merged))

    def _rehearse(self, exchange: MPIExchange, state: Course, worker: int) -> tuple[Any, list[Any]]:
        """Return the State of a worker without rows after its next step, and the actions."""
        after = copy.copy(state.rehearsed[worker])
        state.stage.take()  # a checkpoint accesses the memory as well
        self.algorithm.step(*state.stage.of(worker), after)
        return after, state.stage.take()

    def _take(
        self,
        exchange: MPIExchange,
        workers: ApartWorkers,
        state: Course,
        worker: int,
        actions: list[Action],
        before: int,
    ) -> None:
        """Take a step on the rank of the worker, and this rank's part in its accesses.

        before: gradients that the worker has computed before.
        """
        rank = exchange.placement.rank_of(worker)
        here = rank == exchange.comm.rank
        for action in actions:
            memory = state.memories[action.memory] if action.kind != GRADIENT else None
            if isinstance(memory, OrderedVector):
                memory.bring(rank)
            elif isinstance(memory, OrderedRows) and action.kind == AVERAGE and not here:
                memory.lend(worker, action.other)
        if here:
            i = worker - exchange.ids[0]
            one = workers.apart[i]
            if one.drawn != before:  # after a checkpoint
                one.drawn = before
            self.algorithm.step(state.exchanges[i], one, state.own[i])  # type: ignore[arg-type]
            workers.losses[i] = one.losses[0]


def _due(exchange: MPIExchange, state: Course, worker: int) -> float:
    """Return the time of the first access of a worker's next step, or of its end, s."""
    clock = exchange.clock
    assert clock is not None
    now, step = float(clock.state.times[worker]), int(state.gradients[worker])
    for action in state.nexts[worker][1]:
        if action.kind != GRADIENT:
            break
        now += clock.duration(step, worker)
        step += 1
    return now


def _advance(exchange: MPIExchange, state: Course, worker: int, actions: list[Action]) -> None:
    """Add the gradients and accesses of a step to a worker's time."""
    clock = exchange.clock
    assert clock is not None
    times, others = clock.state.times, exchange.total - 1
    for action in actions:
        if action.kind == GRADIENT:
            took = clock.duration(int(state.gradients[worker]), worker)
            times[worker] += took
            clock.state.computed[worker] += took
            state.gradients[worker] += 1
            continue
        began, nbytes = times[worker], state.sizes[action.memory]
        ends = began
        if action.kind == AVERAGE:
            ends = max(began, state.locked[worker], state.locked[action.other])
            ends += 2 * clock.access_s(nbytes)
            state.locked[worker] = state.locked[action.other] = ends
        elif action.kind == LOCK:
            ends = max(began, state.locked[worker])
        else:
            way = clock.access_s(nbytes / exchange.total)
            ends += (2 if action.kind == CHANGE else 1) * others * way
        clock.state.waited[worker] += ends - began
        times[worker] = ends


def _merged(values: list[Any]) -> Any:
    """Return the fields of single workers as that of all workers of a rank."""
    first = values[0]
    if isinstance(first, RowOf):
        return first.whole
    if isinstance(first, np.ndarray) and first.ndim > 1:
        return np.concatenate(values)
    return first
