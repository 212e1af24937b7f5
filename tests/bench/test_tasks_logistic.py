"""Logistic regression: gradients against torch, its optimum against scikit-learn's."""

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import cross_entropy

from bench.tasks import logistic
from bench.tasks.logistic import Logistic, LogisticProblem
from partitions.protocol import Samples
from tests.bench.made_samples import gradient, shifted, starts, write
from tests.helpers import Array

RNG = np.random.default_rng(0)
INPUTS = RNG.standard_normal((60, 4)) * [1, 2, 3, 4] + 1
LABELS = (INPUTS @ RNG.standard_normal((4, 3)) + RNG.standard_normal((60, 3))).argmax(1)
L2 = 0.03
EXACT = 1e-12  # float64, sums of some dozens


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write 60 samples of four features and three classes; held-out samples have no effect."""
    result = tmp_path_factory.mktemp("data") / "x.h5"
    return write(result, x=INPUTS, y=LABELS, x_test=INPUTS[:2] + 9, y_test=LABELS[:2])


@pytest.fixture
def problem(path: str) -> LogisticProblem:
    return Logistic(l2=L2, standardise=False).load("float64", path)


def plain(w: torch.Tensor, inputs: Array, labels: Any) -> torch.Tensor:
    """Return the regularised loss, written independently in torch."""
    weights = w.reshape(3, 5)
    logits = torch.from_numpy(inputs) @ weights[:, :4].T + weights[:, 4]
    return cross_entropy(logits, torch.from_numpy(labels)) + L2 / 2 * (w**2).sum()


@cache
def shared() -> LogisticProblem:
    """Return one problem for all examples of a property."""
    return LogisticProblem(Logistic.metric, Samples(LABELS, INPUTS), 3, L2, "float32")


@pytest.mark.parametrize("workers", [1, 3])
def test_gradients_are_those_of_torch(problem: LogisticProblem, workers: int) -> None:
    x = starts(problem, workers) * 30
    indices = np.random.default_rng(workers).integers(0, 60, (workers, 7))
    losses, g = gradient(problem, x, indices)
    for row, at, loss, result in zip(x, indices, losses, g, strict=True):
        w = torch.from_numpy(row.copy()).requires_grad_()
        expected = plain(w, INPUTS[at], LABELS[at])
        np.testing.assert_allclose(loss, expected.item(), atol=EXACT)
        np.testing.assert_allclose(result, torch.autograd.grad(expected, w)[0].numpy(), atol=EXACT)


def test_the_gradient_is_ready_as_one_part(problem: LogisticProblem) -> None:
    x = starts(problem, 2)
    learner = problem.learner(x, np.zeros_like(x))
    calls: list[tuple[int, int]] = []
    learner.gradient(
        learner.fetch(np.zeros((2, 3), np.int64)), lambda lo, hi: calls.append((lo, hi))
    )
    assert calls == [(0, problem.d)] == [(0, 15)]


def test_the_optimum_is_that_of_scikit_learn(problem: LogisticProblem) -> None:
    with_constant = np.concatenate([INPUTS, np.ones((60, 1))], axis=1)
    model = LogisticRegression(C=1 / (60 * L2), fit_intercept=False, tol=1e-10, max_iter=1000)
    w = model.fit(with_constant, LABELS).coef_.ravel()
    np.testing.assert_allclose(problem.optimum, w, atol=1e-6)  # accuracy of their solver
    assert abs(problem.evaluate(w[None])[1][0]) < 1e-10


def test_the_loss_is_least_at_the_optimum(problem: LogisticProblem) -> None:
    everything = np.arange(60)[None]
    _, g = gradient(problem, problem.optimum[None].copy(), everything)
    assert np.abs(g).max() < 1e-8
    assert abs(problem.evaluate(problem.optimum[None])[1][0]) < EXACT


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1e-4, 1e3))
def test_the_gap_grows_as_that_of_a_strongly_convex_function(seed: int, scale: float) -> None:
    problem = shared()
    away = np.random.default_rng(seed).standard_normal(problem.d) * scale
    loss, gap = problem.evaluate((problem.optimum + away)[None])
    w = torch.from_numpy(problem.optimum + away)
    np.testing.assert_allclose(loss[0], plain(w, INPUTS, LABELS).item(), rtol=EXACT)
    assert gap[0] >= L2 / 2 * (away @ away) * (1 - 1e-9) - EXACT  # rounding


@pytest.mark.parametrize("numbers", [1, 400, 2**24])
def test_models_are_evaluated_in_pieces_of_any_size(
    numbers: int, problem: LogisticProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logistic, "EVALUATED", numbers)
    x = starts(problem, 5) * 50
    losses, gaps = problem.evaluate(x.astype(np.float32))
    assert losses.dtype == gaps.dtype == np.float64
    expected = [plain(torch.from_numpy(row), INPUTS, LABELS).item() for row in x]
    np.testing.assert_allclose(losses, expected, rtol=1e-6)  # parameters in float32
    np.testing.assert_allclose(losses - gaps, problem.least)


def test_workers_train_on_altered_samples_and_are_evaluated_on_all(
    problem: LogisticProblem,
) -> None:
    x = starts(problem, 2) * 30
    before = problem.evaluate(x)
    shards = [np.array([3, 9, 3]), np.array([9, 59, 0])]
    for alter in (None, shifted):
        places = problem.hold(range(1, 3), shards, alter)
        assert len(problem.inputs) == (6 if alter else 4)
        losses, _ = gradient(problem, x, np.stack(places))
        for worker, (shard, at) in enumerate(zip(shards, places, strict=True), start=1):
            inputs, labels = INPUTS[shard], LABELS[shard]
            if alter:
                inputs, labels = alter(worker, inputs, labels)
            np.testing.assert_array_equal(problem.inputs_at(at), inputs)
            loss = plain(torch.from_numpy(x[worker - 1]), inputs, labels).item()
            np.testing.assert_allclose(losses[worker - 1], loss, atol=EXACT)
        np.testing.assert_array_equal(problem.evaluate(x), before)


def test_inputs_are_standardised_and_bytes_are_fractions_of_255(tmp_path: Path, path: str) -> None:
    features = Logistic().load("float64", path).features()
    np.testing.assert_allclose(features.mean(0), 0, atol=EXACT)
    np.testing.assert_allclose(features.std(0), 1, atol=EXACT)
    pictures = RNG.integers(0, 256, (20, 2, 3), np.uint8)
    bytes_path = write(tmp_path / "b.h5", x=pictures, y=np.arange(20) % 2)
    result = Logistic(standardise=False).load("float32", bytes_path).features()
    pixels = {tuple(row) for row in (result * 255).round().astype(int).tolist()}
    assert len(result) == 16
    assert pixels < {tuple(row) for row in pictures.reshape(20, 6).tolist()}


def test_an_inaccurate_optimum_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logistic, "PRECISION", 1e-30)
    with pytest.raises(ValueError, match=r"^l2=0.03: the optimum is accurate to .*larger l2$"):
        logistic.optimum(INPUTS, LABELS, 3, L2)


@pytest.mark.parametrize("l2", [0.0, -1.0, float("nan"), float("inf")])
def test_refuses_a_decay_without_an_optimum(l2: float) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        Logistic(l2=l2)
    assert str(error.value) == f"l2 must be a finite number > 0, got {l2}"


def test_torch_is_not_needed() -> None:
    script = (
        "import sys; from bench.tasks.logistic import Logistic; "
        "problem = Logistic().load('float32'); x = problem.initial(0)[None]; "
        "learner = problem.learner(x, x.copy()); batch = learner.fetch(x[:, :9].astype(int)); "
        "learner.gradient(batch); problem.evaluate(x); assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
