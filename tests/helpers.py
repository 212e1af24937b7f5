"""Assertions across ranks, and workers with and without data."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI
from numpy.typing import NDArray

from algorithms.exchange.mpi import MPIExchange
from algorithms.exchange.trouble import Trouble
from algorithms.protocol import Layer, Ready, Workers, consecutive_layers
from bench.optimizers import SGD, Optimizer
from bench.runtime.batches import Batches
from bench.runtime.workers import TrainingWorkers
from bench.tasks.quadratic import Quadratic, QuadraticProblem
from partitions.shards import Shards

Array = NDArray[np.floating]


def everywhere(comm: MPI.Intracomm, ok: Any, *details: object) -> None:
    """Fail on all ranks if `ok` is false on one, so that no rank waits for another; collective."""
    wrong = [rank for rank, passed in enumerate(comm.allgather(bool(ok))) if not passed]
    assert not wrong, f"ranks {wrong} of {comm.size}: {details}"


def on(*sizes: int) -> pytest.MarkDecorator:
    """Return a mark that restricts a test to communicators of these sizes."""
    return pytest.mark.parametrize("comm", sizes, indirect=True, ids=lambda n: f"{n}ranks")


def sha(rows: Array) -> str:
    """Return the SHA-256 of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(rows).tobytes()).hexdigest()


def all_rows(comm: MPI.Intracomm, rows: Array) -> Array:
    """Return the (W, d) rows of all ranks on every rank; collective."""
    return np.concatenate(comm.allgather(rows))


class StillWorkers(Workers):
    """Workers without data; gradient and update do nothing, so only the exchange changes x."""

    def __init__(
        self, exchange: MPIExchange, rows: Array, samples: NDArray[np.int64] | None = None
    ) -> None:
        self.ids, self.total = exchange.ids, exchange.total
        self.x, self.g = exchange.rows(rows.shape[1]), exchange.rows(rows.shape[1])
        self.x[:] = rows[list(self.ids)]
        self.samples = np.ones(self.total, np.int64) if samples is None else samples
        self.layers: Sequence[Layer] = consecutive_layers([rows.shape[1:]])

    def gradient(self, ready: Ready | None = None) -> Array:
        """Report the whole zero gradient as ready and return losses of zero, (V,)."""
        if ready:
            ready(0, self.g.shape[1])
        return np.zeros(len(self.x))

    def update(self) -> None:
        """Leave x unchanged."""


class Training:
    """Training of the quadratic task on label-sorted shards, in float64 by default."""

    def __init__(
        self,
        comm: MPI.Intracomm,
        total: int,
        *,
        optimizer: Optimizer | None = None,
        allreduce: str = "recursive_doubling",
        dtype: str = "float64",
        batch: int = 4,
        indices: NDArray[np.int64] | None = None,
        trouble: Trouble = Trouble.NONE,
        encoded: bool = False,
    ) -> None:
        self.problem: QuadraticProblem = Quadratic(dimension=7, samples=240).load(dtype)
        self.shards = Shards(per_worker=1).split(
            self.problem.samples, total, np.random.default_rng(5)
        )
        self.exchange = MPIExchange(
            comm,
            total,
            allreduce=allreduce,
            dtype=dtype,
            seed=3,
            trouble=trouble,
            encoded=encoded,
        )

        def batches(step: int) -> Batches:
            if indices is None:
                return Batches(self.shards, self.exchange.ids, batch, seed=3, step=step, ahead=32)
            return FixedBatches(indices, self.exchange.ids)

        self.workers = TrainingWorkers(
            self.problem,
            optimizer or SGD(lr=0.2, momentum=0.5),
            batches,
            self.exchange.rows(self.problem.d),
            self.exchange.rows(self.problem.d),
            ids=self.exchange.ids,
            samples=np.array([len(shard) for shard in self.shards]),
            seed=3,
            meter=self.exchange.meter,
        )

    def run(self, algorithm: Any, steps: int) -> Array:
        """Return the (V, d) parameters of this rank after the steps; collective."""
        state = algorithm.init(self.exchange, self.workers)
        for _ in range(steps):
            algorithm.step(self.exchange, self.workers, state)
        algorithm.finish(self.exchange, self.workers, state)
        x = self.workers.x.copy()
        self.exchange.close()
        return x


class FixedBatches(Batches):
    """Minibatches from an array of sample indices, (steps, W, b) int64."""

    def __init__(self, indices: NDArray[np.int64], ids: range) -> None:
        self._indices = iter(indices[:, list(ids)])

    def next(self) -> NDArray[np.int64]:
        """Return the indices of the next step, (V, b)."""
        return next(self._indices)
