"""Gradients of the workers of a rank by pipelines; see bench.tasks.protocol.Learner."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from algorithms.pipelines.clock import peak
from algorithms.pipelines.grid import merged
from algorithms.pipelines.one_f_one_b import OneFOneB
from algorithms.pipelines.pipedream import PipeDream
from algorithms.pipelines.protocol import Action, Pipeline
from algorithms.protocol import Ready
from algorithms.wire.meter import GRADIENT, WAIT, Meter
from bench.results.pipelines import MEMORY
from bench.runtime.pipeline.cell import Cell
from bench.runtime.pipeline.player import Minibatch, Player
from bench.tasks.layered import LayeredProblem, StagePasses
from bench.tasks.saved import SavedBytes

if TYPE_CHECKING:
    from mpi4py import MPI


class Draw(Protocol):
    """Minibatches of the workers of a rank, one after the other."""

    def next(self) -> NDArray[np.int64]:
        """Return the sample indices of the next step, (V, b) int64."""
        ...


class Ahead:
    """Minibatches of a step and of those after it, for pipelines whose minibatches overlap."""

    def __init__(self, batches: Draw, ahead: int) -> None:
        self._batches, self._ahead = batches, ahead
        self._drawn: deque[NDArray[np.int64]] = deque()

    def next(self) -> NDArray[np.int64]:
        """Return the indices of the next step and of `ahead` later ones, (ahead + 1, V, b)."""
        while len(self._drawn) <= self._ahead:
            self._drawn.append(self._batches.next())
        window = np.stack(self._drawn)
        self._drawn.popleft()
        return window


def steps_ahead(pipeline: Pipeline) -> int:
    """Return the number of minibatches of which passes begin before the current one ends."""
    if not pipeline.asynchronous:
        return 0
    return -(-(pipeline.stages - 1) // pipeline.microbatches)


@dataclass(frozen=True)
class Memory:
    """Memory of the stages of a rank for one of its workers."""

    saved_bytes: int
    """Maximum size of the activations that were kept between passes, B."""
    saved_bytes_formula: int
    """The same by the order of the passes and the size of those of one micro-batch, B."""
    versions: int
    """Versions of the parameters, the current one included, of the stage with the most."""
    versions_formula: int


@dataclass
class Samples:
    """Minibatches of the workers of a rank: of one step, or of a step and later ones."""

    steps: list[list[Minibatch]]
    """Minibatches by step and worker."""
    overlap: bool
    """Gradients are those of an asynchronous pipeline."""


class PipelineLearner:
    """Learner whose workers are pipelines over the ranks of a row of the grid.

    x, g: (V, n), columns of the parameters and gradients. batch: samples of a minibatch.
    """

    def __init__(
        self,
        problem: LayeredProblem,
        pipeline: Pipeline,
        cell: Cell,
        x: NDArray[np.floating],
        g: NDArray[np.floating],
        batch: int,
        meter: Meter,
    ) -> None:
        assert cell.slices is not None
        self._cell, self._slices = cell, cell.slices
        self.layers = self._slices.layers(cell.column)
        """Parameter tensors of the columns of this rank."""
        self._pipeline, self._meter = pipeline, meter
        self._stages = cell.grid.stages(pipeline, cell.column)
        model = problem.split_model(x, g, cell.slices.bounds, self._stages)
        self.x, self.g, self._rows, self._model = model.x, model.g, x, model
        # A product with a single sample depends on the place of the parameters in memory.
        single = batch // pipeline.microbatches < 2
        self._slots = {s: self._count(s, single) for s in self._stages}
        split = any(action.kind == "input" for action in pipeline.actions(0))
        self._passes: list[dict[int, StagePasses]] = [
            {s: model.stage(v, s, self._slots[s], split=split) for s in self._stages}
            for v in range(len(x))
        ]
        self.memory: Memory | None = None
        """Memory of the first step after `measure_memory`."""
        self._measures = False
        self.step = 0
        """Number of updates so far, of an asynchronous pipeline."""
        self._full = False
        self._now: list[Minibatch] = []
        self._window: deque[list[Minibatch]] = deque()
        self._players = [
            Player(
                pipeline,
                cell.grid,
                model,
                passes,
                v,
                cell.pipe,
                cell.ranks,
                meter,
                x.dtype,
                self._minibatch,
                self._slot,
            )
            for v, passes in enumerate(self._passes)
        ]
        self._flush_order = merged(self._synchronous(), self._stages)
        self._overlap = False

    def _count(self, stage: int, single: bool) -> int:
        """Return the number of stored versions of a stage; 0 if passes read x."""
        versions = self._pipeline.weights(stage)
        return versions if versions > 1 or single else 0

    def _synchronous(self) -> Pipeline:
        """Return the pipeline of a single minibatch."""
        K, M = self._pipeline.stages, self._pipeline.microbatches
        return OneFOneB(K, M) if isinstance(self._pipeline, PipeDream) else self._pipeline

    def part(self, row: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return the columns of this rank, (n,), of a row of parameters, (d,)."""
        return self._slices.take(row, self._cell.column)

    def gather(self, values: list[list[float]]) -> list[list[list[float]]]:
        """Return the values of all ranks that share these workers, by column; collective."""
        pipe = self._cell.pipe
        if pipe is None:
            return [values]
        self._meter.lap(GRADIENT)
        everywhere = pipe.allgather(values)
        self._meter.lap(WAIT)
        return everywhere

    def fetch(self, indices: NDArray[np.int64]) -> Samples:
        """Return the minibatches of indices, (V, b), or of several steps, (steps, V, b)."""

        def read(rows: NDArray[np.int64]) -> list[Minibatch]:
            return [Minibatch(*self._model.samples(row)) for row in rows]

        if indices.ndim == 2:
            return Samples([read(indices)], overlap=False)
        if self._window:
            self._window.popleft()
        self._window.extend(read(rows) for rows in indices[len(self._window) :])
        return Samples(list(self._window), overlap=True)

    def measure_memory(self) -> None:
        """Count the activations of the next step, exactly."""
        self._measures = True

    def _counted(self, actions: list[Action]) -> None:
        """Play the actions of the first worker, and count what they keep."""
        saved = SavedBytes()
        for s, passes in self._passes[0].items():
            passes.count(saved, s)
        self._players[0].play(actions)
        for s, passes in self._passes[0].items():
            passes.count(None, s)
        inputs = {s: saved.inputs.get(s, 0) for s in self._stages}
        formula = peak(self._pipeline, actions, inputs, saved.activations)
        versions = max([1, *self._slots.values()])
        expected = max(self._pipeline.weights(s) for s in self._stages)
        self.memory = Memory(saved.peak, formula, versions, expected)
        self._measures = False

    def gradient(self, batch: Samples, ready: Ready | None = None) -> NDArray[np.floating]:
        """Fill g with the gradients of the minibatches; return the (V,) losses; collective."""
        self._overlap = batch.overlap
        step = self.step if batch.overlap else 0
        losses = np.empty(len(self._players), self._rows.dtype)
        for v, player in enumerate(self._players):
            for s, passes in self._passes[v].items():
                if self._slots[s]:
                    passes.store(step % self._slots[s])
            self._now = [each[v] for each in batch.steps]
            player.loss = self._rows.dtype.type(0)
            actions = list(self._overlapping(step)) if batch.overlap else self._flush_order
            if self._measures and batch.overlap == self._pipeline.asynchronous:
                self._counted(actions)
            else:
                player.play(actions)
            losses[v] = player.loss
        if not batch.overlap:
            for player in self._players:
                player.flush()
        else:
            self.step, self._full = step + 1, True
        if ready:
            ready(0, self._rows.shape[1])
        return losses

    def _minibatch(self, microbatch: int) -> Minibatch:
        first = self.step if self._overlap else 0
        return self._now[microbatch // self._pipeline.microbatches - first]

    def _slot(self, stage: int, microbatch: int) -> int:
        slots = self._slots[stage]
        if not slots or not self._overlap:
            return 0
        return self._pipeline.version(stage, microbatch) % slots

    def _overlapping(self, step: int) -> Iterator[Action]:
        """Yield the passes of an asynchronous step on this rank, after those that fill it.

        Forward passes ascend through the stages, and backward passes descend: one order for all
        ranks, so that they cannot deadlock.
        """
        K, M = self._pipeline.stages, self._pipeline.microbatches
        if not self._full:
            for n in range(step * M, step * M + K - 1):
                for s in self._stages:
                    if n < step * M + K - 1 - s:
                        yield Action("forward", s, n)
        for n in range(step * M, (step + 1) * M):
            for s in self._stages:
                yield Action("forward", s, n + K - 1 - s)
            for s in reversed(self._stages):
                yield Action("backward", s, n)

    def versions(self) -> list[NDArray[np.floating]]:
        """Return the earlier parameters that later gradients need, (V, n) each.

        Entry k has those before the last k + 1 updates; parts that no stage needs are zero. Only an
        asynchronous pipeline has some.
        """
        count = max(self._pipeline.weights(s) for s in range(self._pipeline.stages)) - 1
        rows = [np.zeros_like(self._rows) for _ in range(count)]
        for age, row in enumerate(rows, start=1):
            for v, s, slot, span in self._stored(age):
                self._passes[v][s].save(slot, row[v, span])
        return rows

    def restore(self, step: int, versions: list[NDArray[np.floating]]) -> None:
        """Continue after some steps with the `versions` of that time."""
        self.step, self._full = step, False
        self._window.clear()
        for age, row in enumerate(versions, start=1):
            for v, s, slot, span in self._stored(age):
                self._passes[v][s].load(slot, row[v, span])

    def _stored(self, age: int) -> Iterator[tuple[int, int, int, slice]]:
        """Yield worker, stage, slot and columns of the versions of an age, in updates."""
        for v in range(len(self._players)):
            at = 0
            for s in self._stages:
                span = slice(at, at := at + self._model.size(s))
                if age < self._slots[s] and age <= self.step:
                    yield v, s, (self.step - age) % self._slots[s], span

    def close(self) -> None:
        """Complete the messages in flight; collective in a row of the grid."""
        for v, player in enumerate(self._players):
            if self._full:
                self._overlap = True
                self._now = [self._window[0][v]] * (steps_ahead(self._pipeline) + 1)
                first = self.step * self._pipeline.microbatches
                last = self._pipeline.stages - 1
                player.drain([Action("forward", s, first + last - s) for s in self._stages if s])
            player.flush()


def stage_columns(
    comm: MPI.Intracomm, learner: PipelineLearner | None
) -> dict[str, tuple[tuple[str, ...], NDArray[np.int64], str, str]]:
    """Return the columns of /pipeline, (ranks,) each; empty before the first step; collective."""
    if learner is None:
        return {}
    rows = comm.allgather(learner.memory)
    if None in rows:
        return {}
    return {
        name: (("rank",), np.array([vars(row)[name] for row in rows], np.int64), units, title)
        for name, (_, units, title) in MEMORY.items()
    }
