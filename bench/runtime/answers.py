"""Scores of the models that answer for the workers, each on its own data, for --answer.

The data of a worker are the held-out samples as its partition alters them for this worker, by the
random numbers that alter its shard. A partition that alters nothing has one population, whose data
are the held-out samples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from algorithms.protocol import Rows
from algorithms.wire.waiting import meet
from bench.common.spec import UserError
from bench.runtime.experiment import Experiment
from bench.runtime.memory import check_memory
from bench.runtime.options import BEST, ENSEMBLE, MEAN, NICHE
from bench.runtime.pipeline.cell import Cell
from bench.runtime.setup import Material
from bench.tasks.protocol import Alter, PersonalProblem

if TYPE_CHECKING:
    from mpi4py import MPI

Choice: TypeAlias = tuple[int, ...]
"""Indices of the models that answer together."""


def distinct(rows: Rows) -> tuple[Rows, list[int]]:
    """Return the distinct rows, (n, d), in order of appearance, and the place of each row."""
    digests = [hashlib.sha256(row.data).digest() for row in rows]
    first: dict[bytes, int] = {}
    for i, digest in enumerate(digests):
        first.setdefault(digest, i)
    places = {digest: n for n, digest in enumerate(first)}
    unique = rows if len(first) == len(rows) else rows[list(first.values())]
    return unique, [places[digest] for digest in digests]


class Answers:
    """Metric of every worker's answer on its own data and on all held-out samples.

    kind: a value of --answer. ids: workers of this rank. validation: problem of the validation
    split, for BEST. alter: of the partition; None if it alters nothing.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        kind: str,
        ids: range,
        problem: PersonalProblem,
        validation: PersonalProblem | None = None,
        alter: Alter | None = None,
    ) -> None:
        self._comm, self._kind, self._ids = comm, kind, ids
        self._problem, self._validation, self._alter = problem, validation, alter
        self.own = np.empty(0)
        """(W,) float64, metric of every worker's answer on its own data at the last call."""

    def __call__(self, x: Rows, mean: NDArray[np.floating]) -> dict[str, float]:
        """Return the scores of schema.ANSWER, the same on all ranks; collective.

        x: (V, d), the models of the workers of this rank. mean: (d,), the mean model.
        """
        models, choose = self._candidates(x, mean)
        scores: dict[tuple[int | None, Choice], float] = {}

        def score(worker: int | None, choice: Choice) -> float:
            """Return the metric on the data of a worker, or on all held-out samples (None)."""
            at = None if self._alter is None else worker
            if (at, choice) not in scores:
                scores[at, choice] = self._score(
                    self._samples_of(self._problem, at), models, choice
                )
            return scores[at, choice]

        choices = [choose(i) for i in range(len(self._ids))]
        pairs = [
            (score(i, choice), score(None, choice))
            for i, choice in zip(self._ids, choices, strict=True)
        ]
        meet(self._comm)
        gathered = np.array([pair for part in self._comm.allgather(pairs) for pair in part])
        self.own = gathered[:, 0]
        return {
            "answer_metric": float(gathered[:, 1].mean()),
            "own_mean": float(self.own.mean()),
            "own_worst": self._problem.metric.worst(self.own),
        }

    def _candidates(
        self, x: Rows, mean: NDArray[np.floating]
    ) -> tuple[Rows, Callable[[int], Choice]]:
        """Return models, (n, d), and the function from the place of a worker to its answer."""
        if self._kind == MEAN:
            return mean[None], lambda i: (0,)
        models, places = distinct(x)
        if self._kind == NICHE:
            return models, lambda i: (places[i],)
        models, _ = distinct(np.concatenate(self._comm.allgather(models)))
        if self._kind == ENSEMBLE:
            return models, lambda i: tuple(range(len(models)))
        return models, lambda i: (self._best(self._ids[i], models),)

    def _best(self, worker: int, models: Rows) -> int:
        """Return the model with the smallest loss on the validation samples of a worker."""
        assert self._validation
        at = None if self._alter is None else worker
        return int(self._samples_of(self._validation, at).evaluate(models)[0].argmin())

    def _samples_of(self, problem: PersonalProblem, worker: int | None) -> PersonalProblem:
        """Return the problem of the samples of a worker, or of all samples as they are (None)."""
        if worker is None or self._alter is None:
            return problem
        return problem.of_worker(worker, self._alter)

    def _score(self, problem: PersonalProblem, models: Rows, choice: Sequence[int]) -> float:
        if self._kind == ENSEMBLE:
            return problem.ensemble(models[list(choice)])[1]
        return float(problem.evaluate(models[list(choice)])[1][0])


def answers_of(
    comm: MPI.Intracomm, experiment: Experiment, data: Material, ids: range, cell: Cell | None
) -> Answers | None:
    """Return the answers of --answer, None without it; collective.

    ids: workers of this rank. cell: of this rank in the grid of a pipeline. Errors: UserError
    without memory for the models of all workers, and for an ensemble of a task without classes.
    """
    kind, problem, total = experiment.options.answer, data.problem, experiment.workers
    if not kind:
        return None
    assert isinstance(problem, PersonalProblem)
    assert data.validation is None or isinstance(data.validation, PersonalProblem)
    if kind == ENSEMBLE and not problem.votes:
        raise UserError(
            f"--answer {kind} takes the mean of the softmax of logits, and the outputs of "
            f"{experiment.options.task} are not logits of classes: take {MEAN}, {BEST} or {NICHE}"
        )
    if kind in (ENSEMBLE, BEST):
        needed = 2 * total * problem.d * np.dtype(experiment.options.host_dtype).itemsize
        text = f"the models of {total:,} workers for --answer {kind}"
        check_memory(comm, needed, text, f"take --answer {NICHE}, or fewer --workers")
    peers = cell.peers if cell else comm
    return Answers(peers, kind, ids, problem, data.validation, data.alter)
