"""Tests of --validation: the split, the scores of its samples, and the result file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mpi4py import MPI
from torch.nn.functional import cross_entropy

from bench.common.spec import UserError
from bench.results.claims import Claim
from bench.results.reader import read
from bench.results.validation import flaws
from bench.runtime.setup import material, validation_indices
from bench.tasks.classifier import Classifier
from bench.train import train
from tests.bench.made_workers import experiment


def test_the_split_depends_on_size_and_fraction_alone() -> None:
    split = validation_indices(100, 0.2)
    assert len(split) == 20
    assert (np.diff(split) > 0).all()
    assert (split == validation_indices(100, 0.2)).all()
    assert split[-1] < 100
    for total, fraction in ((2, 0.1), (2, 0.9)):
        with pytest.raises(UserError, match="leaves some on both sides"):
            validation_indices(total, fraction)


@pytest.mark.parametrize(
    "task", ["digits", "digits:norm=batch", "mlp:width=8", "cnn:channels=4,norm=batch"]
)
def test_validation_samples_are_removed_from_training_and_scored(task: str) -> None:
    comm = MPI.COMM_SELF
    whole = material(comm, experiment(task=task))
    assert whole.validation is None
    total = whole.problem.samples.size
    part, again = (material(comm, experiment(task=task, validation=0.25, seed=s)) for s in (0, 1))
    indices = validation_indices(total, 0.25)
    assert part.validation_size == len(indices) == total - part.problem.samples.size
    assert part.problem.samples.size == sum(map(len, part.shards))
    labels = np.delete(whole.problem.samples.labels, indices)
    for data in (part, again):  # the same split for every seed
        assert (data.problem.samples.labels == labels).all()
    models = np.stack([part.problem.initial(seed) for seed in (0, 1)])
    assert part.validation is not None
    loss, accuracy = part.validation.evaluate(models)
    assert np.isfinite(loss).all()
    hits = accuracy * len(indices)
    assert hits == pytest.approx(np.rint(hits))
    assert not np.array_equal(loss, part.problem.evaluate(models)[0])
    if task == "digits":  # against torch's own loss, on the samples of the original table
        assert isinstance(whole.problem, Classifier)
        inputs, targets = whole.problem.training(indices)
        with torch.no_grad():
            expected = [
                float(cross_entropy(whole.problem.build(seed)(inputs), targets)) for seed in (0, 1)
            ]
        assert loss == pytest.approx(expected, rel=1e-5)  # float32
        assert part.problem.evaluate(models)[0] == pytest.approx(whole.problem.evaluate(models)[0])


def test_features_are_scaled_by_the_samples_that_are_trained_on() -> None:
    """Means and deviations of validation samples would pass what they tell on to the training."""
    comm = MPI.COMM_SELF
    options = {"task": "mlp:standardise=true", "validation": 0.25, "dtype": "float64"}
    whole = material(comm, experiment(task="mlp", dtype="float64")).problem
    part = material(comm, experiment(**options))
    assert isinstance(whole, Classifier)
    assert isinstance(part.problem, Classifier)
    total = whole.samples.size
    indices = validation_indices(total, 0.25)
    rest = np.delete(np.arange(total), indices)
    raw = whole.training(rest)[0].numpy()
    inputs = part.problem.training(np.arange(len(rest)))[0].numpy()
    varies = raw.std(0) > 0  # constant features become 0
    assert inputs.mean(0) == pytest.approx(0, abs=1e-9)  # float64, 1,078 samples
    assert inputs.std(0)[varies] == pytest.approx(1)
    # the validation samples have the scale of the training samples
    assert part.validation is not None
    model = part.problem.build(0)
    other, targets = whole.training(indices)
    scaled = torch.zeros_like(other)
    shifted = other.numpy() - raw.mean(0)
    scaled[:, varies] = torch.from_numpy(shifted[:, varies] / raw.std(0)[varies])
    with torch.no_grad():
        expected = float(cross_entropy(model(scaled), targets))
    (loss,), _ = part.validation.evaluate(part.problem.initial(0)[None])
    assert loss == pytest.approx(expected)


def test_params_and_hash_change_only_if_a_split_is_asked_for() -> None:
    plain, split = experiment(), experiment(validation=0.2)
    assert "validation" not in plain.params
    assert split.params == {**plain.params, "validation": 0.2}
    assert plain.hash != split.hash
    assert "--validation=0.2" in split.arguments()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation": 1}, r"--validation must be in \[0, 1\), got 1"),
        ({"validation": -0.1}, "got -0.1"),
        ({"validation": 0.2, "task": "quadratic"}, "the metric of quadratic is defined on all"),
        ({"validation": 0.2, "task": "logistic"}, "can hold some out are digits, mlp"),
    ],
)
def test_wrong_fractions_and_tasks_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        experiment(**options)


def test_a_run_records_the_scores_of_its_split(tmp_path: Path) -> None:
    case = experiment(validation=0.2, steps=10, eval_every=5, out=tmp_path, name="x")
    results: list[Claim] = []
    assert train(MPI.COMM_SELF, case, results, quiet=True) == 0
    run = read(tmp_path / "x.h5")
    assert flaws(tmp_path / "x.h5") == []
    row = run.row()
    assert row.validation_samples == run.attributes["validation_samples"] > 0
    assert row.validation_metric == run.evals["validation_metric"][-1]
    assert len(run.evals["validation_loss"]) == len(run.evals["step"]) == 3
    assert run.evals["validation_loss"][-1] < run.evals["validation_loss"][0]
    plain = experiment(steps=10, eval_every=5, out=tmp_path, name="y")
    assert train(MPI.COMM_SELF, plain, results, quiet=True) == 0
    other = read(tmp_path / "y.h5")
    assert "validation_metric" not in other.evals
    assert np.isnan(other.row().validation_metric)
    assert other.row().validation_samples == 0
