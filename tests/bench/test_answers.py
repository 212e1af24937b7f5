"""Tests of --answer: the models that answer, the data of a worker, and the result file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mpi4py import MPI
from numpy.typing import NDArray

from algorithms.wire.placement import Placement
from bench.common.spec import UserError
from bench.results.claims import Claim
from bench.results.contents import columns, open_hdf5
from bench.results.reader import read
from bench.results.validation import flaws
from bench.runtime.answers import Answers
from bench.runtime.options import ANSWERS
from bench.runtime.setup import Material, material
from bench.tasks.classifier import Classifier
from bench.train import train
from tests.bench.made_workers import experiment
from tests.helpers import everywhere

MODELS = [0, 1, 0, 2, 2, 1, 3]
"""Seed of the model of each worker."""


def conflict(
    worker: int, inputs: NDArray[np.floating], labels: NDArray[np.int64]
) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """Shift the labels of every second worker."""
    return inputs, (labels + worker % 2) % 10


def problems() -> tuple[Material, Classifier, Classifier]:
    data = material(MPI.COMM_SELF, experiment(validation=0.25, dtype="float64"))
    assert isinstance(data.problem, Classifier)
    assert isinstance(data.validation, Classifier)
    return data, data.problem, data.validation


def probabilities(problem: Classifier, rows: NDArray[np.floating]) -> torch.Tensor:
    """Return the class probabilities of models on the held-out samples, (n, m, classes)."""
    inputs = problem._held_out[0]
    module = problem.build(0)
    answers = []
    for row in rows:
        torch.nn.utils.vector_to_parameters(torch.from_numpy(row), module.parameters())
        answers.append(module(inputs).softmax(-1).detach())
    return torch.stack(answers)


@pytest.mark.parametrize("kind", ANSWERS)
def test_the_model_of_each_kind_answers_on_the_data_of_its_worker(kind: str) -> None:
    _, problem, validation = problems()
    x = np.stack([problem.initial(seed) for seed in MODELS])
    mean = x.mean(0)
    answers = Answers(MPI.COMM_SELF, kind, range(7), problem, validation, conflict)
    scores = answers(x, mean)
    targets = problem._held_out[1]
    single, shared = x[[0, 1, 3, 6]], probabilities(problem, mean[None])[0]
    expected, everything = [], []
    for i in range(7):
        if kind == "mean":
            answer = shared
        elif kind == "ensemble":
            answer = probabilities(problem, single).mean(0)
        elif kind == "niche":
            answer = probabilities(problem, x[i : i + 1])[0]
        else:
            known = (validation._held_out[1] + i % 2) % 10
            guessed = probabilities(validation, single)
            losses = [-p[range(len(known)), known].log().mean() for p in guessed]
            answer = probabilities(problem, single[[int(np.argmin(losses))]])[0]
        expected.append(float((answer.argmax(1) == (targets + i % 2) % 10).double().mean()))
        everything.append(float((answer.argmax(1) == targets).double().mean()))
    assert answers.own == pytest.approx(expected)
    assert scores == pytest.approx(
        {
            "answer_metric": np.mean(everything),
            "own_mean": np.mean(expected),
            "own_worst": min(expected),
        }
    )
    assert len(set(expected)) > 1


@pytest.mark.parametrize("task", ["digits", "digits:norm=batch", "cnn:channels=4,norm=batch"])
def test_an_ensemble_of_one_model_is_this_model(task: str) -> None:
    problem = material(MPI.COMM_SELF, experiment(task=task, dtype="float64")).problem
    assert isinstance(problem, Classifier)
    rows = np.stack([problem.initial(seed) for seed in (0, 0, 1)])
    losses, metrics = problem.evaluate(rows)
    assert problem.ensemble(rows[:2]) == pytest.approx((losses[0], metrics[0]))
    loss, _ = problem.ensemble(rows[1:])
    assert loss < losses[1:].mean()  # Jensen's inequality


@pytest.mark.mpi
def test_answers_do_not_depend_on_placement(comm: MPI.Intracomm) -> None:
    _, problem, validation = problems()
    x = np.stack([problem.initial(seed) for seed in MODELS])
    ids = Placement.dealt(len(x), comm.size).positions(comm.rank)
    for kind in ANSWERS:
        alone = Answers(MPI.COMM_SELF, kind, range(7), problem, validation, conflict)
        apart = Answers(comm, kind, ids, problem, validation, conflict)
        rows = x[ids.start : ids.stop].copy()
        everywhere(comm, apart(rows, x.mean(0)) == alone(x, x.mean(0)), kind)
        everywhere(comm, apart.own.tolist() == alone.own.tolist(), kind)


def test_a_run_records_the_scores_of_its_answers(tmp_path: Path) -> None:
    """The samples of a worker are rotated as its shard."""
    shared = {"steps": 10, "eval_every": 5, "out": tmp_path, "partition": "rotation:degrees=90"}
    results: list[Claim] = []
    case = experiment(answer="niche", algorithm="local_sgd:period=0", name="x", **shared)
    assert train(MPI.COMM_SELF, case, results, quiet=True) == 0
    assert flaws(tmp_path / "x.h5") == []
    run = read(tmp_path / "x.h5")
    row = run.row()
    with open_hdf5(tmp_path / "x.h5") as file:
        own = columns(file, "workers")["own_metric"]
    assert row.answer == "niche"
    assert (row.own_mean, row.own_worst) == (own.mean(), own.min())
    assert row.answer_metric == row.metric_mean < row.own_mean
    assert len(run.evals["own_mean"]) == len(run.evals["step"]) == 3
    plain = experiment(name="y", **shared)
    assert "answer" not in plain.params
    assert train(MPI.COMM_SELF, plain, results, quiet=True) == 0
    assert "own_mean" not in read(tmp_path / "y.h5").evals
    assert np.isnan(read(tmp_path / "y.h5").row().own_mean)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"answer": "median"}, "unknown answer 'median'"),
        ({"answer": "best"}, "by its loss on the validation split: add --validation 0.2"),
        ({"answer": "niche", "task": "quadratic"}, "no worker has held-out data; tasks with some"),
    ],
)
def test_answers_that_cannot_be_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        experiment(**options)
