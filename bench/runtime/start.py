"""Start of a run: exchange, workers and state of the algorithm before the first step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from algorithms.exchange.mpi import MPIExchange, worker_bounds
from algorithms.wire.meter import TracingMeter
from algorithms.wire.room import RoomError
from bench.common.spec import UserError
from bench.common.text import counted
from bench.runtime.experiment import Experiment
from bench.runtime.memory import check_memory
from bench.runtime.model_time import measured_s, model_clock
from bench.runtime.setup import Material
from bench.runtime.workers import TrainingWorkers

if TYPE_CHECKING:
    from mpi4py import MPI

ROWS = 2
"""Arrays of one row for each worker that every run has: parameters and gradients."""


def workers(
    comm: MPI.Intracomm, experiment: Experiment, data: Material
) -> tuple[MPIExchange, TrainingWorkers]:
    """Return the exchange and this rank's workers, at the common start; collective."""
    options = experiment.options
    bounds = worker_bounds(experiment.workers, comm.size)
    rows = bounds[comm.rank + 1] - bounds[comm.rank]
    needed = ROWS * rows * data.problem.d * np.dtype(options.dtype).itemsize
    models = f"{counted(experiment.workers, 'worker')} of {data.problem.d:,} parameters"
    check_memory(comm, needed, models, "take fewer --workers, or a smaller model")
    needed = 8 * rows * options.batch
    batches = f"minibatches of {options.batch:,} samples for {experiment.workers:,} workers"
    check_memory(comm, needed, batches, "take a smaller --batch")
    try:
        exchange = MPIExchange(
            comm,
            experiment.workers,
            allreduce=options.allreduce,
            dtype=options.dtype,
            seed=options.seed,
            trouble=experiment.trouble,
            meter=TracingMeter(comm) if options.trace else None,
            clock=model_clock(experiment),
        )
        x, g = exchange.rows(data.problem.d), exchange.rows(data.problem.d)
    except ValueError as error:
        where = "" if str(error).startswith("--") else f"--allreduce {options.allreduce}: "
        raise UserError(f"{where}{error}") from None
    trained = TrainingWorkers(
        data.problem,
        experiment.optimizer,
        data.batches,
        x,
        g,
        ids=exchange.ids,
        samples=data.skew.sizes,
        seed=options.seed,
        meter=exchange.meter,
        exchange=exchange,
        trouble=exchange.trouble,
        clock=exchange.clock,
    )
    if exchange.clock and math.isnan(exchange.clock.state.compute_s):
        exchange.clock.state.compute_s = measured_s(comm, trained, data.batches(0))
    return exchange, trained


def initial_state(experiment: Experiment, exchange: MPIExchange, workers: TrainingWorkers) -> Any:
    """Return the state of the algorithm before the first step; collective.

    Errors: UserError on every rank without room for the memory that workers share.
    """
    try:
        return experiment.algorithm.init(exchange, workers)
    except RoomError as error:
        raise UserError(f"algorithm {experiment.options.algorithm}: {error}") from None
