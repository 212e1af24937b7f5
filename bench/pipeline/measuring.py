"""Measured times of the layers of a model, of the stages of a cut, and of a link."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from algorithms.pipelines import PIPELINES
from algorithms.pipelines.planner import Chain
from algorithms.pipelines.protocol import Pipeline
from algorithms.wire.meter import (
    BACKWARD_PASS,
    FORWARD_PASS,
    SENT,
    WEIGHT_PASS,
    Event,
    TracingMeter,
)
from algorithms.wire.waiting import until
from bench.collectives.links import LARGE_BYTES, SMALL_BYTES, round_trip_ns
from bench.common.spec import format_spec
from bench.pipeline.options import Options
from bench.results.pipelines import Turn
from bench.runtime import setup, start
from bench.runtime.experiment import Experiment
from bench.runtime.options import TrainOptions
from bench.runtime.pipeline.learner import Memory
from bench.runtime.pipeline.player import Minibatch
from bench.session.binding import check_threads, keep_freed_memory, use_threads
from bench.session.launch import check_launch, closing, on_all_ranks
from bench.tasks.layered import LayeredProblem, SplitModel

if TYPE_CHECKING:
    from bench.runtime.setup import Material
    from bench.yardsticks.pipelining import TorchPipeline

WARM_UP = 3
"""Steps before the measured ones."""
TURNS = 3
"""Turns of measured steps on all ranks and on one."""
PASSES = (FORWARD_PASS, BACKWARD_PASS, WEIGHT_PASS)


@dataclass(frozen=True)
class Subject:
    """Model of one worker, its data, and the pipeline whose stages are measured."""

    experiment: Experiment
    data: Material
    problem: LayeredProblem
    pipeline: Pipeline
    ranks: list[dict[str, Any]]
    """Places of the ranks; see bench.session.binding.use_threads."""
    flaws: list[str]
    """Flaws of their binding."""


def experiment_of(options: Options, task: str, pipeline: Pipeline, ranks: int) -> Experiment:
    """Return the experiment of one worker on a number of ranks. Errors: UserError."""
    training = TrainOptions(
        task=task,
        data=options.data,
        batch=options.batch,
        pipeline=format_spec(pipeline, PIPELINES),
        workers=1,
        trace=1,
    )
    experiment = Experiment.resolve(training, ranks)
    experiment.check()
    return experiment


def subject(comm: MPI.Intracomm, build: Callable[[], Experiment]) -> Subject:
    """Check the launch, build the experiment, and load its data; collective. Errors: UserError."""
    check_launch(os.environ, comm.size, 0)
    check_threads(comm, 0)
    experiment = on_all_ranks(comm, build)
    keep_freed_memory()
    data = setup.material(comm, experiment)
    ranks, flaws = use_threads(comm, 0)
    problem, pipeline = data.problem, experiment.pipeline
    assert isinstance(problem, LayeredProblem)
    assert pipeline is not None
    return Subject(experiment, data, problem, pipeline, ranks, flaws)


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


class Loop:
    """Steps of one worker whose pipeline is on all ranks; construction and `close` are collective.

    measures_memory: the first step counts the activations.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        experiment: Experiment,
        data: Material,
        *,
        measures_memory: bool = False,
    ) -> None:
        self._exchange, self._workers = start.workers(comm, experiment, data)
        assert isinstance(self._exchange.meter, TracingMeter)
        assert self._workers.pipelines is not None
        self._meter, self._learner = self._exchange.meter, self._workers.pipelines
        if measures_memory:
            self._learner.measure_memory()

    def run(self, steps: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Take WARM_UP steps, then `steps` measured ones.

        Return the times of the minibatches, (steps,) ns, and those of their forward passes,
        backward passes and bubble, (steps, 3) ns.
        """
        took, phases = np.zeros(steps, np.int64), np.zeros((steps, 3), np.int64)
        for step in range(-WARM_UP, steps):
            self._meter.tracing = step >= 0
            before = np.array(self._meter.ns[-3:])
            began = self._meter.start()
            self._workers.gradient()
            now = perf_counter_ns()
            if step >= 0:
                took[step], phases[step] = now - began, np.array(self._meter.ns[-3:]) - before
            self._workers.update()
        return took, phases

    @property
    def memory(self) -> Memory | None:
        """Memory of the first step, if it was measured."""
        return self._learner.memory

    def events(self) -> list[Event]:
        """Return the events of the measured steps."""
        return self._meter.take()

    def close(self) -> None:
        """Complete the messages in flight, and release the ranks; collective."""
        self._exchange.close()
        self._workers.close()


@dataclass(frozen=True)
class Trained:
    """Measured passes of a pipeline.

    passes: (K, 3) ns, medians of forward passes, of backward passes or those for the inputs, and
    of those for the parameters alone. minibatch: ns, median on the slowest rank. message: B, the
    largest one. memory: of each rank; empty if not measured.
    """

    passes: NDArray[np.float64]
    minibatch: float
    message: int
    memory: list[Memory]

    @property
    def stages(self) -> Sequence[float]:
        """Times of all passes of a micro-batch by stage, ns."""
        times: list[float] = self.passes.sum(axis=1).tolist()
        return times


def train(comm: MPI.Intracomm, experiment: Experiment, data: Material, steps: int) -> Trained:
    """Train some steps with the pipeline of an experiment, and measure its passes; collective.

    Sending a result is part of a pass.
    """
    with closing(Loop(comm, experiment, data)) as loop:
        took, _ = loop.run(steps)
        return _trained(comm, experiment, loop, np.stack(comm.allgather(took), axis=1))


def train_in_turns(
    comm: MPI.Intracomm,
    experiment: Experiment,
    data: Material,
    steps: int,
    alone: Experiment,
    theirs: TorchPipeline | None,
    keep: Callable[[Turn], None],
) -> Trained:
    """Train TURNS times for some steps, alternating with the other sides; collective. See `train`.

    alone: the experiment on one rank, which rank 0 computes while the others wait, and then every
    rank at the same time. theirs: a yardstick that trains, too. keep: called on rank 0 after each
    turn. The first step counts the activations.
    """
    turns: list[NDArray[np.int64]] = []
    with ExitStack() as stack:
        loop = stack.enter_context(closing(Loop(comm, experiment, data, measures_memory=True)))
        single = stack.enter_context(closing(Loop(MPI.COMM_SELF, alone, data)))
        for _ in range(TURNS):
            comm.Barrier()
            ours = [np.stack(comm.allgather(x), axis=1) for x in loop.run(steps)]
            other = single.run(steps)[0] if comm.rank == 0 else np.empty(0, np.int64)
            until(comm.Ibarrier().Test)
            together = np.stack(comm.allgather(single.run(steps)[0]), axis=1)
            torch = None
            if theirs:
                torch = np.stack(comm.allgather(theirs.run(WARM_UP, steps)), axis=1)
            if comm.rank == 0:
                keep(Turn(ours[0], ours[1], other, together, torch))
            turns.append(ours[0])
        return _trained(comm, experiment, loop, np.concatenate(turns))


def _trained(
    comm: MPI.Intracomm, experiment: Experiment, loop: Loop, durations: NDArray[np.int64]
) -> Trained:
    """Return the measured passes; collective. durations: (steps, ranks), ns, of the minibatches."""
    pipeline = experiment.pipeline
    assert pipeline is not None
    events = [event for each in comm.allgather(loop.events()) for event in each]
    passes = np.zeros((pipeline.stages, len(PASSES)))
    for s in range(pipeline.stages):
        for i, kind in enumerate(PASSES):
            times = [x[3] for x in events if x[1] == kind and x[5] == s]
            passes[s, i] = np.median(times) if times else 0
    return Trained(
        passes,
        minibatch=float(np.median(durations.max(axis=1))),
        message=max((x[4] for x in events if x[1] == SENT), default=0),
        memory=[x for x in comm.allgather(loop.memory) if x],
    )
