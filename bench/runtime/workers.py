"""Workers of one rank: rows of parameters, shards and local optimiser."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from algorithms.exchange.clock import FORWARD, ModelClock
from algorithms.exchange.trouble import Straggler, Trouble
from algorithms.protocol import Exchange, Layer, Ready, Rows, Workers
from algorithms.wire.carrier import divide_in_place
from algorithms.wire.memory import Host
from algorithms.wire.meter import DATA, GRADIENT, OTHER, UPDATE, Meter
from bench.optimizers import Optimizer
from bench.optimizers.protocol import Elementwise
from bench.runtime.batches import Batches, RenewedBatches
from bench.runtime.clipping import clip, clip_parts
from bench.runtime.pipeline.cell import Cell
from bench.runtime.pipeline.learner import Ahead, PipelineLearner
from bench.runtime.staleness import StaleSlices
from bench.tasks.protocol import ChunkedLearner, Learner, Problem

Parts: TypeAlias = tuple[Any, list[NDArray[np.int64]]]
"""First part of minibatches, as Learner.fetch returns it, and the indices of the other parts."""


class TrainingWorkers(Workers):
    """Workers that train a problem on their shards; see algorithms.protocol.Workers.

    x, g: (V, d), parameters and gradients from Exchange.rows. All workers start from
    problem.initial(seed). exchange: for tasks whose workers share statistics, which makes
    `gradient` collective. trouble: the stragglers. clock: the model clock, if any, which gradients
    advance in place of stragglers' sleeps. batches: returns the minibatches from a step on.
    rate: learning rate at a step, counted from 0; None for that of the optimizer.
    clip: largest norm of a gradient, decay excluded; None for no limit. accumulate: parts of equal
    size of each minibatch, whose gradients are added up one after the other.
    stale: slices of earlier parameters, at which gradients are computed. members: ids of the W
    workers in the run, where others are gone; by default their positions.
    cell, pipelines: place of this rank in the grid, and the pipelines that compute the gradients of
    its columns of the parameters.
    """

    def __init__(
        self,
        problem: Problem,
        optimizer: Optimizer,
        batches: Callable[[int], Batches | RenewedBatches | Ahead],
        x: Rows,
        g: Rows,
        *,
        ids: range,
        samples: NDArray[np.int64],
        seed: int,
        meter: Meter,
        exchange: Exchange | None = None,
        trouble: Trouble = Trouble.NONE,
        clock: ModelClock | None = None,
        rate: Callable[[int], float] | None = None,
        clip: float | None = None,
        accumulate: int = 1,
        cell: Cell | None = None,
        pipelines: PipelineLearner | None = None,
        stale: StaleSlices | None = None,
        members: Sequence[int] | None = None,
    ) -> None:
        self._names = members[ids.start : ids.stop] if members else ids
        self.ids, self.total, self.samples = ids, len(samples), samples
        memory = exchange or Host()
        self.x, self.g = x, g
        self.losses: NDArray[np.floating] = np.full(len(ids), np.nan)
        """Losses of the last minibatches, (V,)."""
        self.cell, self.pipelines, self._exchange = cell, pipelines, exchange
        self.layers: Sequence[Layer] = problem.layers
        self._learner: Learner
        if pipelines is None:
            x[:] = problem.initial(seed)
            share = self._share if exchange else None
            self._learner = problem.learner(memory.bare(x), memory.bare(g), share)
        else:
            x[:] = pipelines.part(problem.initial(seed))
            self.layers, self._learner = pipelines.layers, pipelines
        self.delays = pipelines or stale
        """Earlier parameters of later gradients, which checkpoints hold; None without any."""
        self._stale, self._source = stale, self._learner
        if stale:
            self._source = problem.learner(stale.rows, g, self._share if exchange else None)
        self._optimizer, self._meter, self._make = optimizer, meter, batches
        self._rate, self._limit, self._parts = rate, clip, accumulate
        self._sum = memory.like(g) if accumulate > 1 else None
        self._trouble, self._seed, self._clock = trouble, seed, clock
        self.apart: Sequence[TrainingWorkers] = ()
        """Each worker on its own, with its row of x and g, where workers step one by one."""
        self.drawn = 0
        self.optimizer_state: Any = optimizer.init(self._learner.x, self.layers)
        self._chunked: ChunkedLearner | None = None
        """Learner of `step`, unless something needs the whole gradient before the update."""
        learner, whole = self._learner, stale or clip or accumulate > 1
        sleeps = trouble.straggler and not clock
        if isinstance(learner, ChunkedLearner) and isinstance(optimizer, Elementwise):
            self._chunked = learner if learner.chunked and not (whole or sleeps) else None

    @property
    def drawn(self) -> int:
        """Number of minibatches that each worker has drawn; assign to it to resume from there."""
        return self._drawn

    @drawn.setter
    def drawn(self, drawn: int) -> None:
        self._drawn, self._batches = drawn, self._make(drawn)

    def gradient(self, ready: Ready | None = None) -> NDArray[np.floating]:
        """Fill g at x with the next minibatch of every worker; return the (V,) losses.

        With `ready`, call ready(lo, hi) as soon as g[:, lo:hi] is final, decay included.
        """
        self._meter.lap(OTHER)
        parts = self._fetch(self._batches.next())
        if self._stale:
            self._stale.advance()
        began = time.perf_counter_ns()
        if ready is None:
            self.losses = self._whole_gradient(parts)
            self._decay(0, self.x.shape[1])
        else:

            def finished(lo: int, hi: int) -> None:
                self._decay(lo, hi)
                if self._clock:
                    done = 1 - lo / self.x.shape[1]
                    self._clock.gradient(self._drawn, FORWARD + (1 - FORWARD) * done)
                self._meter.lap(GRADIENT)  # the time of `ready` is not part of the gradient
                ready(lo, hi)

            if self._limit is None:
                self.losses = self._gradient(parts, finished)
            else:  # the norm is known at the end only
                self.losses = self._whole_gradient(parts)
                finished(0, self.x.shape[1])
        if self._clock:
            self._clock.gradient(self._drawn)
        elif self._trouble.straggler:
            self._sleep(self._trouble.straggler, (time.perf_counter_ns() - began) / 1e9)
        self._drawn += 1
        self._meter.lap(GRADIENT)
        return self.losses

    def _fetch(self, indices: NDArray[np.int64]) -> Parts:
        """Return minibatches, (V, b) int64: the first of their parts, and the indices of others.

        One part is in memory at a time.
        """
        first, *others = np.split(indices, self._parts, axis=1)
        batch = self._source.fetch(first)
        self._meter.lap(DATA)
        return batch, others

    def _whole_gradient(self, parts: Parts) -> NDArray[np.floating]:
        """Fill g, clipped and without decay; return the (V,) losses."""
        losses = self._gradient(parts)
        if self._limit is not None:
            if self.pipelines is None:
                clip(self.g, self._limit)
            else:
                clip_parts(self.g, self.layers, self._limit, self.pipelines.gather)
        return losses

    def _gradient(self, parts: Parts, ready: Ready | None = None) -> NDArray[np.floating]:
        """Fill g with the mean gradient of the parts; return their mean losses, (V,).

        The gradient of the last part is reported while it is computed, the sum included.
        """
        batch, others = parts
        if self._sum is None:
            return self._source.gradient(batch, ready)
        total, g, count = self._sum, self.g, 1 + len(others)
        total[:] = 0
        losses = []
        for part in others:
            losses.append(self._source.gradient(batch).copy())
            total += g
            self._meter.lap(GRADIENT)
            batch = self._source.fetch(part)
            self._meter.lap(DATA)

        def add(lo: int, hi: int) -> None:
            g[:, lo:hi] += total[:, lo:hi]
            divide_in_place(g[:, lo:hi], count)
            if ready:
                ready(lo, hi)

        losses.append(self._source.gradient(batch, add if ready else None))
        if not ready:
            add(0, g.shape[1])
        mean: NDArray[np.floating] = np.mean(losses, axis=0)
        return mean

    def finite(self) -> bool:
        """Return whether all parameters and all losses, once there is one, are finite."""
        losses = self.losses
        if self.apart:
            losses = losses[[one.drawn > 0 for one in self.apart]]
        return bool(np.isfinite(losses).all() and np.isfinite(np.asarray(self.x)).all())

    def probe(self, indices: NDArray[np.int64]) -> None:
        """Fill g with the gradient at x of some minibatches, outside any step.

        indices: (V, b) int64.
        """
        if self._stale:
            self._stale.current()
        self._gradient(self._fetch(indices))

    def update(self) -> None:
        """Take one step of the local optimiser along g."""
        self._meter.lap(OTHER)
        optimizer = self._optimizer_at(max(0, self._drawn - 1))  # that of the last minibatch
        optimizer.update(self._learner.x, self._learner.g, self.optimizer_state)
        self._meter.lap(UPDATE)

    def step(self) -> NDArray[np.floating]:
        """Take one step of the local optimiser with the next minibatches; return the (V,) losses.

        The gradient of a chunk of the workers is used while it is in the cache; g may stay as it
        is.
        """
        if self._chunked is None:
            losses = self.gradient()
            self.update()
            return losses
        learner, meter, optimizer = self._chunked, self._meter, self._optimizer_at(self._drawn)
        meter.lap(OTHER)
        each = []
        for chunk, batch in learner.chunks(self._batches.next()):
            meter.lap(DATA)
            some, gradients = learner.compute(chunk, batch)
            each.append(some)
            states = optimizer.parts(self.optimizer_state, chunk.views)
            for x, g, state in zip(chunk.x, gradients, states, strict=False):
                meter.lap(GRADIENT)
                optimizer.update(x, g + optimizer.l2 * x if optimizer.l2 else g, state)
                meter.lap(UPDATE)
        if self._clock:
            self._clock.gradient(self._drawn)
        self._drawn += 1
        self.losses = np.concatenate(each)
        return self.losses

    def _optimizer_at(self, step: int) -> Any:
        """Return the optimizer with the learning rate of a step, counted from 0."""
        optimizer: Any = self._optimizer
        return replace(optimizer, lr=self._rate(step)) if self._rate else optimizer

    def close(self) -> None:
        """Complete the messages of pipelines, and free the communicators; collective."""
        if self.pipelines:
            self.pipelines.close()
        if self.cell:
            self.cell.close()

    def _sleep(self, straggler: Straggler, duration_s: float) -> None:
        time.sleep(straggler.late_s(self._names, self._drawn, duration_s, self._seed))

    def _decay(self, lo: int, hi: int) -> None:
        l2 = self._optimizer.l2
        if l2:
            g, x = self._learner.g, self._learner.x
            g[:, lo:hi] += l2 * x[:, lo:hi]

    def _share(self, rows: NDArray[np.floating], group: int) -> None:
        """Average within groups of workers; collective."""
        assert self._exchange is not None
        self._meter.lap(GRADIENT)
        self._exchange.mean(rows, group=group)
