"""Start of a run: exchange, workers and state of the algorithm before the first step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from algorithms.exchange.clock import ModelClock
from algorithms.exchange.membership import DEALT
from algorithms.exchange.mpi import MPIExchange
from algorithms.exchange.order import Separate, in_order
from algorithms.protocol import Rows
from algorithms.wire.memory import RoomError
from algorithms.wire.meter import Meter, TracingMeter
from algorithms.wire.placement import Placement
from bench.common.spec import UserError
from bench.common.text import counted
from bench.device.devices import Found
from bench.runtime.batches import Batches, RenewedBatches
from bench.runtime.experiment import Experiment
from bench.runtime.membership import Epoch
from bench.runtime.memory import check_memory
from bench.runtime.model_time import measured_s, model_clock
from bench.runtime.options import BF16
from bench.runtime.pipeline.cell import Cell
from bench.runtime.pipeline.learner import Ahead, PipelineLearner, steps_ahead
from bench.runtime.pipeline.slices import Slices
from bench.runtime.setup import Material
from bench.runtime.staleness import StaleSlices, slices_of, staleness_of
from bench.runtime.workers import TrainingWorkers
from bench.session.launch import on_all_ranks
from bench.tasks.layered import LayeredProblem
from bench.tasks.protocol import TorchProblem

if TYPE_CHECKING:
    from mpi4py import MPI

ROWS = 2
"""Number of arrays with a row for each worker in any run: parameters and gradients."""


def workers(
    comm: MPI.Intracomm, experiment: Experiment, data: Material, device: Found | None = None
) -> tuple[MPIExchange, TrainingWorkers]:
    """Return the exchange and this rank's workers, at the common start; collective.

    device: for rows in tensors; None for arrays of NumPy.
    """
    options = experiment.options
    cell = Cell.of(comm, experiment.grid, on_all_ranks(comm, lambda: _slices(experiment, data)))
    peers, d = cell.peers, cell.width or data.problem.d
    rows = len(experiment.placement.positions(peers.rank))
    arrays = ROWS + (options.accumulate > 1)
    needed = arrays * rows * d * np.dtype(options.host_dtype).itemsize
    models = f"{counted(experiment.workers, 'worker')} of {data.problem.d:,} parameters"
    check_memory(comm, needed, models, "take fewer --workers, or a smaller model")
    needed = 8 * rows * options.minibatch
    batches = f"minibatches of {options.minibatch:,} samples for {experiment.workers:,} workers"
    check_memory(comm, needed, batches, "take a smaller --batch")
    try:
        exchange = _exchange(
            peers,
            experiment,
            experiment.placement,
            meter=_meter(comm, experiment, peers, device),
            device=device,
            clock=model_clock(experiment),
        )
        x, g = exchange.rows(d), exchange.rows(d)
    except ValueError as error:
        where = "" if str(error).startswith("--") else f"--allreduce {options.allreduce}: "
        raise UserError(f"{where}{error}") from None
    if device:
        for problem in filter(None, (data.problem, data.validation)):
            assert isinstance(problem, TorchProblem)
            problem.to(device.torch)
    pipelines = _pipelines(experiment, data, cell, x, g, exchange.meter)
    make = _maker(experiment, data, exchange, data.skew.sizes)
    trained = _hosted(make, exchange, cell)(
        _batches(experiment, data),
        x,
        g,
        pipelines=pipelines,
        stale=on_all_ranks(comm, lambda: _stale(experiment, data, x)),
    )
    if exchange.clock and experiment.algorithm.needs.asynchronous:
        trained.apart = [
            make(partial(data.batches_of, i), x[j], g[j], ids=range(i, i + 1))
            for i, j in ((i, slice(j, j + 1)) for j, i in enumerate(exchange.ids))
        ]
        trained.optimizer_state = Separate([one.optimizer_state for one in trained.apart])
    if exchange.clock and math.isnan(exchange.clock.state.compute_s):
        exchange.clock.state.compute_s = measured_s(comm, trained, data.batches(0))
    return exchange, trained


def first_epoch(
    comm: MPI.Intracomm, experiment: Experiment, data: Material, device: Found | None
) -> Epoch:
    """Return the exchange and this rank's workers with all of them alive; collective."""
    exchange, trained = workers(comm, experiment, data, device)
    return Epoch(exchange.placement, exchange, trained)


def members(
    experiment: Experiment,
    data: Material,
    placement: Placement,
    before: MPIExchange,
    cell: Cell | None,
) -> tuple[MPIExchange, TrainingWorkers]:
    """Return the exchange and this rank's workers that are alive, at the common start; collective.

    before: an earlier exchange of the run, whose meter and clock continue. cell: cell of this rank.
    """
    options, alive = experiment.options, placement.members
    exchange = _exchange(before.comm, experiment, placement, meter=before.meter, clock=before.clock)
    x, g = exchange.rows(data.problem.d), exchange.rows(data.problem.d)
    shards = data.samples_of
    if experiment.churn and experiment.churn.shards == DEALT:
        shards = dealt(data.samples_of, placement)
    here = alive[exchange.ids.start : exchange.ids.stop]
    make = _maker(experiment, data, exchange, np.array([len(shards[i]) for i in alive]))
    trained = _hosted(make, exchange, cell)(
        lambda step: Batches(shards, here, options.minibatch, options.seed, step),
        x,
        g,
        members=alive,
    )
    return exchange, trained


def dealt(
    shards: Mapping[int, NDArray[np.int64]], placement: Placement
) -> dict[int, NDArray[np.int64]]:
    """Return the shards of the workers alive, with those of the dead dealt to them."""
    alive = placement.members
    dead = [shards[i] for i in sorted(set(shards) - set(alive))]
    orphans = np.concatenate([np.empty(0, np.int64), *dead])
    return {i: np.concatenate([shards[i], orphans[j :: len(alive)]]) for j, i in enumerate(alive)}


def _exchange(
    comm: MPI.Intracomm,
    experiment: Experiment,
    workers: int | Placement,
    *,
    meter: Meter | None,
    clock: ModelClock | None,
    device: Found | None = None,
) -> MPIExchange:
    """Return an exchange with the options of the experiment; collective. Errors: ValueError."""
    options = experiment.options
    kind: Callable[..., MPIExchange] = MPIExchange
    if device:
        from bench.device.exchange import TorchExchange  # not at the top: NumPy needs no torch

        kind = partial(TorchExchange, device=device.torch)
    return kind(
        comm,
        workers,
        allreduce=options.allreduce,
        dtype=options.dtype,
        seed=options.seed,
        trouble=experiment.trouble,
        meter=meter,
        clock=clock,
        encoded=options.wire == BF16,
    )


def _maker(
    experiment: Experiment, data: Material, exchange: MPIExchange, samples: NDArray[np.int64]
) -> Callable[..., TrainingWorkers]:
    """Return a function that makes workers with the options of the experiment."""
    options = experiment.options
    return partial(
        TrainingWorkers,
        data.problem,
        experiment.optimizer,
        samples=samples,
        seed=options.seed,
        meter=exchange.meter,
        rate=experiment.rate if experiment.schedule else None,
        clip=options.clip,
        accumulate=options.accumulate,
    )


def _hosted(
    make: Callable[..., TrainingWorkers], exchange: MPIExchange, cell: Cell | None
) -> Callable[..., TrainingWorkers]:
    """Return a function that makes all workers of this rank, on its exchange."""
    return partial(
        make,
        ids=exchange.ids,
        exchange=exchange,
        trouble=exchange.trouble,
        clock=exchange.clock,
        cell=cell,
    )


def _meter(
    comm: MPI.Intracomm, experiment: Experiment, peers: MPI.Intracomm, device: Found | None
) -> Meter | None:
    """Return the meter of the run; None for the exchange's own."""
    if device and device.names and not experiment.compute:
        from bench.device.exchange import DeviceMeter, DeviceTracingMeter

        traced = experiment.options.trace
        return DeviceTracingMeter(comm, peers) if traced else DeviceMeter()
    if experiment.options.trace:
        return TracingMeter(comm, peers, experiment.phases)
    return Meter(experiment.phases) if experiment.pipeline else None


def _slices(experiment: Experiment, data: Material) -> Slices | None:
    """Return the columns of the parameters of each rank; None without a pipeline."""
    if experiment.pipeline is None:
        return None
    assert isinstance(data.problem, LayeredProblem)
    problem = data.problem
    return Slices(experiment.pipeline, experiment.grid, problem.units, problem.layers)


def _pipelines(
    experiment: Experiment, data: Material, cell: Cell, x: Rows, g: Rows, meter: Meter
) -> PipelineLearner | None:
    """Return the pipelines of the workers of this rank, if any."""
    if experiment.pipeline is None:
        return None
    assert isinstance(data.problem, LayeredProblem)
    batch = experiment.options.batch
    return PipelineLearner(data.problem, experiment.pipeline, cell, x, g, batch, meter)


def _stale(experiment: Experiment, data: Material, x: Rows) -> StaleSlices | None:
    """Return the stale slices of the parameters for --staleness, or None. Errors: UserError."""
    pipeline = staleness_of(experiment.options)
    if pipeline is None:
        return None
    return StaleSlices(pipeline, x, slices_of(pipeline, experiment.task, data.problem))


def _batches(
    experiment: Experiment, data: Material
) -> Callable[[int], Batches | RenewedBatches | Ahead]:
    """Return the minibatches of this rank from a step on, with later ones if they overlap."""
    pipeline = experiment.pipeline
    if pipeline is None or not pipeline.asynchronous:
        return data.batches
    ahead = steps_ahead(pipeline)
    return lambda step: Ahead(data.batches(step), ahead)


def initial_state(experiment: Experiment, exchange: MPIExchange, workers: TrainingWorkers) -> Any:
    """Return the state of the algorithm before the first step; collective.

    Errors: UserError on every rank without room for the memory that workers share.
    """
    try:
        return in_order(experiment.algorithm, exchange).init(exchange, workers)
    except RoomError as error:
        raise UserError(f"algorithm {experiment.options.algorithm}: {error}") from None


def warm(data: Material, experiment: Experiment) -> None:
    """Compute a gradient of two workers if this rank hosts one, as it may host more after a death.

    The first gradient of several workers takes seconds, to import modules and to trace the model.
    """
    if len(data.places) > 1 or experiment.launched:
        return
    problem, options = data.problem, experiment.options
    x = np.stack([problem.initial(options.seed)] * 2)
    learner = problem.learner(x, np.empty_like(x), lambda rows, group: None)
    learner.gradient(learner.fetch(np.zeros((2, options.batch), np.int64)))
