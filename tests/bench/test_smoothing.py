"""Label smoothing of classifications: torch as a reference, placement, records and refusals."""

from typing import Any

import numpy as np
import pytest
import torch

from bench.common.spec import UserError
from bench.optimizers import SGD
from bench.tasks.digits import Digits
from tests.bench.made_workers import experiment, make_workers


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_gradients_are_those_of_smooth_targets(norm: str, count: int) -> None:
    problem: Any = Digits(norm=norm, smoothing=0.3).load("float64")
    workers = make_workers(problem, SGD(), range(count), "float64")
    drawn = make_workers(problem, SGD(), range(count), "float64")._batches.next()
    losses = workers.gradient()
    for i in range(count):
        module = problem.build(seed=0)
        outputs = module(problem.inputs[drawn[i]])
        one_hot = torch.nn.functional.one_hot(problem.targets[drawn[i]], 10)
        smooth = 0.7 * one_hot.double() + 0.3 / 10
        loss = -(smooth * outputs.log_softmax(1)).sum(1).mean()
        gradients = torch.autograd.grad(loss, list(module.parameters()))
        expected = torch.cat([x.flatten() for x in gradients])
        np.testing.assert_allclose(losses[i], float(loss.detach()), rtol=1e-9)
        np.testing.assert_allclose(workers.g[i], expected, rtol=1e-6, atol=1e-9)


def test_a_pipeline_and_one_rank_have_the_same_gradient() -> None:
    from bench.tasks.stages import TorchSplitModel

    problem: Any = Digits(smoothing=0.3).load("float64")
    x, g = np.tile(problem.initial(0), (1, 1)), np.zeros((1, problem.d))
    split = problem.split_model(x, g, [0, 1, len(problem.units)], [0, 1])
    assert isinstance(split, TorchSplitModel)
    inputs, targets = split.samples(np.arange(8))
    first, last = (split.stage(0, i, 0, split=False) for i in (0, 1))
    hidden = first.forward(0, 0, inputs, None, 1 / 8, keep=True)
    loss = last.forward(0, 0, hidden, targets, 1 / 8, keep=True)
    outputs = problem.build(seed=0)(problem.inputs[:8])
    expected = torch.nn.functional.cross_entropy(outputs, problem.targets[:8], label_smoothing=0.3)
    np.testing.assert_allclose(float(loss), float(expected.detach()), rtol=1e-9)


def test_held_out_targets_are_not_smoothed() -> None:
    row = Digits().load("float32").initial(0)[None]
    scores = [Digits(smoothing=s).load("float32").evaluate(row) for s in (0.0, 0.5)]
    np.testing.assert_array_equal(scores[0], scores[1])


@pytest.mark.parametrize("task", ["digits", "mlp", "cnn", "synthetic"])
def test_only_a_weight_above_zero_is_in_the_case(task: str) -> None:
    plain, smooth = experiment(task=task), experiment(task=f"{task}:smoothing=0.1")
    assert "smoothing" not in plain.params["options"]["task"]
    assert smooth.params["options"]["task"]["smoothing"] == 0.1
    with pytest.raises(UserError, match=r"smoothing must be in \[0, 1\), got 1.0"):
        experiment(task=f"{task}:smoothing=1")
