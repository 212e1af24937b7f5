"""Measured times of the layers of a model, of the stages of a cut, and of a link."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from time import perf_counter_ns
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from algorithms.pipelines.planner import Chain
from algorithms.wire.meter import BACKWARD_PASS, FORWARD_PASS, TracingMeter
from bench.collectives.links import LARGE_BYTES, SMALL_BYTES, round_trip_ns
from bench.runtime import start
from bench.runtime.pipeline.player import Minibatch
from bench.session.launch import closing
from bench.tasks.layered import LayeredProblem, SplitModel

if TYPE_CHECKING:
    from mpi4py import MPI

    from bench.runtime.experiment import Experiment
    from bench.runtime.setup import Material

WARM_UP = 3
"""Steps before the measured ones."""


@dataclass(frozen=True)
class Wire:
    """Latency of a message, ns, and time of a byte, ns."""

    latency: float = 0.0
    per_byte: float = 0.0


def measured_wire(comm: MPI.Intracomm) -> Wire:
    """Measure the link between the first and the last rank; collective."""
    small, large = (round_trip_ns(comm, nbytes)[0] / 2 for nbytes in (SMALL_BYTES, LARGE_BYTES))
    return Wire(small, max(0.0, large - small) / LARGE_BYTES)


def measured_chain(
    problem: LayeredProblem, places: NDArray[np.int64], microbatches: int, steps: int
) -> Chain:
    """Measure the units of a model on this rank, with the samples of a minibatch, places (b,).

    Every unit is a stage in one measurement and the whole model is one stage in another, in turns.
    The difference of their times is the fixed time of each further stage. Times are medians over
    all micro-batches.
    """
    rows = np.zeros((2, 1, problem.d), problem.initial(0).dtype)
    rows[0] = problem.initial(0)
    L = len(problem.units)
    models = [
        problem.split_model(rows[0], rows[1], bounds, range(len(bounds) - 1))
        for bounds in (list(range(L + 1)), [0, L])
    ]
    minibatch = Minibatch(*models[0].samples(places))
    times: list[list[NDArray[np.int64]]] = [[], []]
    for step in range(WARM_UP + steps):
        for model, stages, each in zip(models, (L, 1), times, strict=True):
            took = _passes(model, stages, minibatch, microbatches)
            if step >= WARM_UP:
                each.append(took)
    units, whole = (np.median(np.concatenate(each), axis=0) for each in times)  # (stages, 2)
    fixed = np.maximum(0, (units.sum(axis=0) - whole[0]) / max(1, L - 1))
    forward, backward = np.maximum(0, units - fixed).T.tolist()
    samples = -(-len(places) // microbatches)
    itemsize = rows.itemsize
    sizes = [samples * prod(models[0].shape(s)) * itemsize for s in range(L)]
    return Chain(
        forward, backward, sizes, [n * itemsize for n in problem.units], tuple(fixed.tolist())
    )


def _passes(
    model: SplitModel, stages: int, minibatch: Minibatch, microbatches: int
) -> NDArray[np.int64]:
    """Return the times of the passes of all micro-batches, (M, stages, 2), ns."""
    passes = [model.stage(0, s, 0, split=False) for s in range(stages)]
    took = np.empty((microbatches, stages, 2), np.int64)
    for m in range(microbatches):
        part, share = minibatch.part(m, microbatches)
        value = minibatch.inputs[part]
        for s, stage in enumerate(passes):
            targets = minibatch.targets[part] if s == stages - 1 else None
            began = perf_counter_ns()
            value = stage.forward(m, 0, value, targets, share, keep=True)
            took[m, s, 0] = perf_counter_ns() - began
        gradient = None
        for s in reversed(range(stages)):
            began = perf_counter_ns()
            gradient = passes[s].backward(m, gradient, m == 0)
            took[m, s, 1] = perf_counter_ns() - began
    return took


@dataclass(frozen=True)
class Trained:
    """Measured stages of a cut: medians of the passes, (K, 2) ns, and time of a minibatch, ns."""

    passes: NDArray[np.float64]
    minibatch: float

    @property
    def stages(self) -> Sequence[float]:
        """Times of both passes of a micro-batch by stage, ns."""
        times: list[float] = self.passes.sum(axis=1).tolist()
        return times


def train(comm: MPI.Intracomm, experiment: Experiment, data: Material, steps: int) -> Trained:
    """Train some steps with the pipeline of an experiment, and measure its passes; collective.

    A minibatch ends on the slowest rank. Sending the result is part of a pass.
    """
    pipeline = experiment.pipeline
    assert pipeline is not None
    gradients = []
    with ExitStack() as stack:
        exchange, workers = start.workers(comm, experiment, data)
        stack.enter_context(closing(exchange))
        stack.enter_context(closing(workers))
        meter = exchange.meter
        assert isinstance(meter, TracingMeter)
        for step in range(WARM_UP + steps):
            meter.tracing = step >= WARM_UP
            comm.Barrier()
            began = meter.start()
            workers.gradient()
            gradients.append(perf_counter_ns() - began)
            workers.update()
        events = [event for each in comm.allgather(meter.take()) for event in each]
    passes = np.zeros((pipeline.stages, 2))
    for s in range(pipeline.stages):
        for i, kind in enumerate((FORWARD_PASS, BACKWARD_PASS)):
            passes[s, i] = np.median([x[3] for x in events if x[1] == kind and x[5] == s])
    slowest = np.max(comm.allgather(gradients[WARM_UP:]), axis=0)
    return Trained(passes, float(np.median(slowest)))
