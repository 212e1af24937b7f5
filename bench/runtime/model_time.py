"""The model clock of a run, and the duration of a gradient on this machine."""

from __future__ import annotations

import math
import statistics
import time
from typing import TYPE_CHECKING

from algorithms.exchange.clock import ModelClock
from bench.runtime.experiment import Experiment
from bench.runtime.workers import TrainingWorkers

if TYPE_CHECKING:
    from mpi4py import MPI

    from bench.runtime.batches import Batches, RenewedBatches

LEAST_GRADIENTS, LEAST_S = 5, 0.2
"""Minimum number and duration of the gradients of which the median is taken."""
DIGITS = 3
"""Significant digits of a measured duration."""


def model_clock(experiment: Experiment) -> ModelClock | None:
    """Return the model clock at time 0; None on the wall clock."""
    if experiment.compute is None:
        return None
    return ModelClock(experiment.workers, experiment.compute, experiment.trouble)


def measured_s(
    comm: MPI.Intracomm, workers: TrainingWorkers, batches: Batches | RenewedBatches
) -> float:
    """Return the median duration of a worker's gradient on rank 0, s, rounded; collective.

    The gradients of the V workers of a rank are computed together, and each takes a V-th part.
    """
    took: list[float] = []
    if comm.rank == 0:
        indices = batches.next()
        workers.probe(indices)
        while len(took) < LEAST_GRADIENTS or sum(took) < LEAST_S:
            began = time.perf_counter()
            workers.probe(indices)
            took.append(time.perf_counter() - began)
    return float(comm.bcast(_rounded(statistics.median(took) / len(workers.ids)) if took else 0.0))


def _rounded(x: float) -> float:
    return round(x, DIGITS - 1 - math.floor(math.log10(x)))
