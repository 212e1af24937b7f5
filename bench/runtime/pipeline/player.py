"""Passes of the stages of a rank, with the messages between the ranks of a pipeline.

A message is sent as soon as its pass has ended, and never awaited by its sender; its receive is
posted before the pass that precedes its own. The order of the messages of a stage is that of the
micro-batches on both sides. Gradients carry the loss of their micro-batch, so that all ranks know
it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from algorithms.pipelines.grid import Grid
from algorithms.pipelines.protocol import Action, Kind, Pipeline
from algorithms.wire.meter import (
    BACKWARD_PASS,
    FORWARD_PASS,
    GRADIENT,
    WAIT,
    WEIGHT_PASS,
    Meter,
)
from algorithms.wire.waiting import until
from bench.tasks.layered import SplitModel, StagePasses

if TYPE_CHECKING:
    from mpi4py import MPI


KINDS: dict[Kind, int] = {
    "forward": FORWARD_PASS,
    "backward": BACKWARD_PASS,
    "input": BACKWARD_PASS,
    "weight": WEIGHT_PASS,
}
"""Kind of the event of a pass."""


@dataclass(frozen=True)
class Minibatch:
    """Samples of one worker for one minibatch: inputs (b, ...) and targets (b, ...)."""

    inputs: NDArray[Any]
    targets: NDArray[np.int64]

    def part(self, microbatch: int, count: int) -> tuple[slice, float]:
        """Return the samples of a micro-batch out of `count`, and the inverse of all targets."""
        b = len(self.inputs)
        return slice(microbatch * b // count, (microbatch + 1) * b // count), 1 / self.targets.size


@dataclass
class Arrival:
    """A message to this rank: its buffer, its request, and column and tag of its sender."""

    buffer: NDArray[np.floating]
    request: MPI.Request
    column: int
    tag: int


class Player:
    """Passes of the stages of one rank for one worker.

    passes: by stage. worker: counted in the row of the grid. ranks: of the run, by column of the
    grid, empty for one column. slot(stage, microbatch): number of the
    parameters. minibatch(microbatch): samples. Micro-batches are counted through all minibatches.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        grid: Grid,
        model: SplitModel,
        passes: dict[int, StagePasses],
        worker: int,
        pipe: MPI.Intracomm | None,
        ranks: Sequence[int],
        meter: Meter,
        dtype: np.dtype[Any],
        minibatch: Callable[[int], Minibatch],
        slot: Callable[[int, int], int],
    ) -> None:
        self._pipeline, self._model, self._passes = pipeline, model, passes
        self._pipe, self._ranks, self._meter, self._dtype = pipe, ranks, meter, dtype
        self._first_tag = 2 * pipeline.stages * worker
        self._minibatch, self._slot = minibatch, slot
        self._columns = [grid.column(pipeline, s) for s in range(pipeline.stages)]
        self._here: dict[Action, Any] = {}
        """Results of passes for other stages of this rank, by the pass that takes them."""
        self._sent: deque[tuple[MPI.Request, NDArray[Any]]] = deque()
        self._losses: dict[int, np.floating] = {}
        self.loss = dtype.type(0)
        """Sum of the losses of the micro-batches since it was last set."""

    def play(self, actions: Sequence[Action]) -> None:
        """Compute some passes in order."""
        following = self._expect(actions[0])
        for i, action in enumerate(actions):
            arrival = following
            following = self._expect(actions[i + 1]) if i + 1 < len(actions) else None
            self._compute(action, arrival)
            self._meter.passed(KINDS[action.kind], action.stage, action.microbatch)
            while self._sent and self._sent[0][0].Test():
                self._sent.popleft()

    def _source(self, action: Action) -> int | None:
        """Return the stage whose result a pass takes; None for the ends of the pipeline."""
        if action.kind == "weight":
            return None
        source = action.stage + (-1 if action.kind == "forward" else 1)
        return source if 0 <= source < self._pipeline.stages else None

    def _expect(self, action: Action) -> Arrival | None:
        """Post the receive of a pass; None if its input is on this rank."""
        source = self._source(action)
        if source is None or source in self._passes:
            return None
        assert self._pipe is not None
        forward = action.kind == "forward"
        b = self._samples(action.microbatch)
        shape = (b, *self._model.shape(min(source, action.stage)))
        size = int(np.prod(shape))
        buffer: NDArray[Any] = np.empty(shape if forward else size + 1, self._dtype)
        tag = self._tag(action)
        column = self._columns[source]
        return Arrival(buffer, self._pipe.Irecv(buffer, column, tag), column, tag)

    def _tag(self, action: Action) -> int:
        """Return the tag of the message to a pass: by worker, stage and direction."""
        return self._first_tag + 2 * action.stage + (action.kind != "forward")

    def _samples(self, microbatch: int) -> int:
        """Return the number of samples of a micro-batch."""
        M = self._pipeline.microbatches
        part, _ = self._minibatch(microbatch).part(microbatch % M, M)
        return int(part.stop - part.start)

    def _compute(self, action: Action, arrival: Arrival | None) -> None:
        """Wait for the input of a pass, compute it, and pass its result on."""
        kind, stage, m = action
        value: Any = self._here.pop(action, None)
        if arrival is not None:
            self._await(arrival)
            value = arrival.buffer
        passes, M = self._passes[stage], self._pipeline.microbatches
        first = m % M == 0
        if kind == "forward":
            self._forward(passes, stage, m, value)
            return
        if kind == "weight":
            passes.weight(m, first)
            return
        gradient, loss = None, self._losses.pop(m, None)
        if value is not None:
            loss = value[-1]
            gradient = value[:-1].reshape((-1, *self._model.shape(stage)))
        assert loss is not None
        if min(self._passes) == stage:  # each micro-batch once
            self.loss += loss
        if kind == "backward":
            outward = passes.backward(m, gradient, first)
        else:
            outward = passes.input(m, gradient)
        if outward is not None:
            message = np.empty(outward.size + 1, self._dtype)
            message[:-1], message[-1] = outward.reshape(-1), loss
            self._hand_over(Action(kind, stage - 1, m), message)

    def _forward(
        self, passes: StagePasses, stage: int, m: int, value: NDArray[np.floating] | None
    ) -> None:
        M = self._pipeline.microbatches
        batch = self._minibatch(m)
        part, share = batch.part(m % M, M)
        last = stage == self._pipeline.stages - 1
        result = passes.forward(
            m,
            self._slot(stage, m),
            batch.inputs[part] if value is None else value,
            batch.targets[part] if last else None,
            share,
            keep=not self._pipeline.recomputes(m),
        )
        if last:
            self._losses[m] = self._dtype.type(result)
        else:
            self._hand_over(Action("forward", stage + 1, m), result)

    def _hand_over(self, target: Action, value: NDArray[Any]) -> None:
        """Give the result of a pass to the pass that takes it, here or on another rank."""
        if target.stage in self._passes:
            self._here[target] = value
            return
        assert self._pipe is not None
        column, tag = self._columns[target.stage], self._tag(target)
        self._meter.handed(value.nbytes, self._ranks[column], tag)
        self._sent.append((self._pipe.Isend(value, column, tag), value))

    def _await(self, arrival: Arrival) -> None:
        self._meter.lap(GRADIENT)
        until(arrival.request.Test)
        self._meter.awaited(arrival.buffer.nbytes, self._ranks[arrival.column], arrival.tag)

    def drain(self, actions: Sequence[Action]) -> None:
        """Receive the inputs of passes that are not computed any more."""
        for action in actions:
            arrival = self._expect(action)
            if arrival:
                until(arrival.request.Test)

    def flush(self) -> None:
        """Wait until all messages that this rank has sent are on their way."""
        self._meter.lap(GRADIENT)
        while self._sent:
            until(self._sent.popleft()[0].Test)
        self._meter.lap(WAIT)
