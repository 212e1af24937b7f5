"""Scores and consensus distance of the models, measured outside the timed steps."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from algorithms.exchange.mpi import MPIExchange
from algorithms.pipelines.grid import Grid
from algorithms.protocol import Rows
from algorithms.wire import bfloat16
from algorithms.wire.placement import Placement
from algorithms.wire.waiting import meet
from bench.runtime.answers import Answers, answers_of, distinct
from bench.runtime.experiment import Experiment
from bench.runtime.pipeline.cell import Cell
from bench.runtime.setup import Material
from bench.runtime.workers import TrainingWorkers
from bench.tasks.protocol import Problem

if TYPE_CHECKING:
    from mpi4py import MPI

HASHED_ROWS_BYTES = 64 * 2**20
"""Maximum size of a message with parameters to hash."""


class Evaluation:
    """Scores of the mean model and of every worker. All methods but `state_dict` are collective.

    An exchange of its own keeps the traffic of evaluations out of the counters, and adds the mean
    in worker order for every --allreduce. validation: problem of the validation split, if any.
    cell: of this rank, if x has some columns of the parameters only. answers: for the scores of
    --answer.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        problem: Problem,
        workers: Placement,
        x: Rows,
        validation: Problem | None = None,
        cell: Cell | None = None,
        answers: Answers | None = None,
    ) -> None:
        self.answers = answers
        self._cell = cell or Cell.of(comm, Grid(comm.size))
        self._problem, self._total, self._x = problem, workers.total, x
        self._validation = validation
        self._exchange = MPIExchange(self._cell.peers, workers, dtype=x.dtype.name)
        self._placement = workers
        self._mean: NDArray[np.floating] = np.empty(0, x.dtype)

    def __call__(self) -> tuple[dict[str, float], NDArray[np.float64], NDArray[np.float64]]:
        """Return the scores by name, and loss and metric of every worker, (W,) float64 each.

        The names are those of schema.EVAL, of schema.VALIDATION with a split, and of schema.ANSWER
        with answers. The result is the same on all ranks.
        """
        own, metric = np.asarray(self._x), self._problem.metric
        x, mean = self._cell.whole(own), self._cell.whole(self.average(own))
        self._mean = mean
        squares = [float(np.sum((row.astype(np.float64) - mean) ** 2)) for row in x]
        own_loss, own_metric = self._scores(x)
        meet(self._cell.peers)
        gathered = self._cell.peers.allgather((squares, own_loss, own_metric))
        losses = np.concatenate([loss for _, loss, _ in gathered])
        metrics = np.concatenate([values for _, _, values in gathered])
        mean_loss, mean_metric = self._problem.evaluate(mean[None])
        distance2 = sum(square for squares, _, _ in gathered for square in squares)
        scores = {
            "loss": float(mean_loss[0]),
            "metric": float(mean_metric[0]),
            "metric_mean": float(metrics.mean()),
            "metric_worst": metric.worst(metrics),
            "consensus": float(np.sqrt(distance2 / self._total)),
        }
        if self._validation:
            loss, value = self._validation.evaluate(mean[None])
            scores |= {"validation_loss": float(loss[0]), "validation_metric": float(value[0])}
        if self.answers:
            scores |= self.answers(x, mean)
        return scores, losses, metrics

    def follow(self, placement: Placement, x: Rows) -> None:
        """Evaluate the workers that are alive from now on, with parameters x; collective."""
        self._x = x  # also of the same workers after a death and a return
        if placement != self._placement:
            self._placement, self._total = placement, placement.total
            self._exchange.close()
            self._exchange = MPIExchange(self._cell.peers, placement, dtype=x.dtype.name)

    def _scores(self, x: Rows) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Return loss (V,) and metric (V,) of the rows; equal rows are scored once."""
        models, places = distinct(x)
        loss, metric = self._problem.evaluate(models)
        return loss[places], metric[places]

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of the last mean model by name."""
        return self._problem.state_dict(self._mean)

    def average(self, rows: Rows) -> NDArray[np.floating]:
        """Return the mean over all workers of rows (V, d), added in worker order; collective.

        The result has shape (d,) and the dtype of the rows.
        """
        mean: NDArray[np.floating] = np.empty_like(rows[0])
        self._exchange.mean(rows, out=mean)
        return mean

    def close(self) -> None:
        """Release the exchange; collective."""
        self._exchange.close()


def evaluation_of(
    comm: MPI.Intracomm, experiment: Experiment, data: Material, workers: TrainingWorkers
) -> Evaluation:
    """Return the evaluation of the workers of an experiment; collective. Errors: UserError."""
    cell = workers.cell
    answers = answers_of(comm, experiment, data, workers.ids, cell)
    here, x = experiment.placement, workers.x
    return Evaluation(comm, data.problem, here, x, data.validation, cell, answers)


def rounding_error(comm: MPI.Intracomm, x: Rows) -> float:
    """Return the relative error of the rows of all ranks as bfloat16, root mean square; collective.

    x: (V, d), parameters of the workers of this rank.
    """
    errors, squares = zip(*comm.allgather(bfloat16.error2(np.asarray(x))), strict=True)
    return float(np.sqrt(sum(errors) / sum(squares))) if sum(squares) else 0.0


def parameters_sha256(comm: MPI.Intracomm, x: Rows, cell: Cell | None = None) -> str:
    """Return the SHA-256 of the parameters in worker order, "" on other ranks; collective.

    x: (V, d), parameters of the workers of this rank. cell: of this rank, if x has some columns.
    """
    x = np.asarray(x)
    if cell:
        comm, x = cell.peers, cell.whole(x)
    rows = max(1, HASHED_ROWS_BYTES // x[0].nbytes)
    counts = comm.gather(len(x))
    if counts is None:
        for a in range(0, len(x), rows):
            comm.Send(x[a : a + rows], 0)
        return ""
    digest = hashlib.sha256(x.data)
    buffer = np.empty_like(x, shape=(min(rows, max(counts)), x.shape[1]))
    for rank, count in enumerate(counts[1:], start=1):
        for a in range(0, count, rows):
            chunk = buffer[: min(rows, count - a)]
            comm.Recv(chunk, rank)
            digest.update(chunk.data)
    return digest.hexdigest()
