"""Experiments, and workers with shards of the digits, in this process."""

from __future__ import annotations

from typing import Any

import numpy as np
from mpi4py import MPI

from algorithms.exchange.mpi import MPIExchange
from bench.runtime.batches import Batches
from bench.runtime.experiment import Experiment
from bench.runtime.options import TABLE
from bench.runtime.workers import TrainingWorkers
from bench.tasks.classifier import Classifier

SHARDS = [np.arange(i, 1000, 4) for i in range(4)]


def experiment(**options: object) -> Experiment:
    """Return the experiment of some options, by default of four workers."""
    texts = {name: str(value) for name, value in options.items()}
    return Experiment.resolve(TABLE.build({"workers": "4", **texts}), MPI.COMM_SELF.size)


def make_workers(
    problem: Classifier, optimizer: Any, ids: range, dtype: str, **more: Any
) -> TrainingWorkers:
    """Return some of four workers; more: further arguments of TrainingWorkers."""
    exchange = MPIExchange(MPI.COMM_SELF, len(ids), dtype=dtype)
    return TrainingWorkers(
        problem,
        optimizer,
        lambda step: Batches(SHARDS, ids, 8, 0, step),
        exchange.rows(problem.d),
        exchange.rows(problem.d),
        ids=ids,
        samples=np.array([len(shard) for shard in SHARDS]),
        seed=0,
        meter=exchange.meter,
        **more,
    )
