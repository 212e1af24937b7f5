"""Scores of every worker and of the mean model, where some workers agree and some do not."""

import numpy as np
import pytest
from mpi4py import MPI

from algorithms.wire.placement import Placement
from bench.runtime.evaluation import Evaluation
from bench.tasks.quadratic import Quadratic
from tests.helpers import everywhere

pytestmark = pytest.mark.mpi

MODELS = [0, 1, 0, 2, 2, 1, 3]
"""Model of each worker."""


def test_every_worker_has_the_scores_of_its_own_model(comm: MPI.Intracomm) -> None:
    problem = Quadratic(dimension=3, samples=50).load("float64")
    every = np.stack([problem.initial(seed) for seed in MODELS])
    placement = Placement.dealt(len(MODELS), comm.size)
    x = every[slice(*placement.span(comm.rank))].copy()
    evaluation = Evaluation(comm, problem, placement, x)
    scores, losses, metrics = evaluation()
    evaluation.close()
    expected = [problem.evaluate(row[None]) for row in every]
    same = np.allclose(losses, [loss[0] for loss, _ in expected], rtol=1e-12)
    everywhere(comm, same, losses)
    same = np.allclose(metrics, [metric[0] for _, metric in expected], rtol=1e-12)
    everywhere(comm, same, metrics)
    mean = problem.evaluate(every.mean(0)[None])
    everywhere(comm, np.isclose(scores["loss"], mean[0][0]), scores)
    apart = np.sqrt(((every - every.mean(0)) ** 2).sum() / len(MODELS))
    everywhere(comm, np.isclose(scores["consensus"], apart), scores)
