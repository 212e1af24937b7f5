"""The perceptron on any data: plain products, sizes, and the samples of workers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from bench.tasks import model
from bench.tasks.digits import Digits
from bench.tasks.mlp import MLP, count, perceptron, widths_of
from tests.bench.made_samples import (
    Plain,
    gradient,
    loss_and_gradient,
    parameters,
    shifted,
    starts,
    write,
)
from tests.helpers import Array

SHAPES: Plain = {"w1": (5, 12), "b1": (5,), "w2": (5, 5), "b2": (5,), "w3": (3, 5), "b3": (3,)}
RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (40, 3, 4), np.uint8)
TESTED = RNG.integers(0, 256, (17, 3, 4), np.uint8)
LABELS = np.arange(40) % 3
WANTED = np.arange(17) % 3
EXACT = 1e-12  # float64, sums of some dozens


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write three classes of 3x4 pictures in bytes, with a test set."""
    path = tmp_path_factory.mktemp("data") / "bytes.h5"
    return write(path, x=BYTES, y=LABELS, x_test=TESTED, y_test=WANTED)


def plain(of: dict[str, torch.Tensor], inputs: Array) -> torch.Tensor:
    """Return the logits of two hidden layers, written independently: inputs (m, 12)."""
    x = torch.from_numpy(inputs)
    x = torch.relu(x @ of["w1"].T + of["b1"])
    x = torch.relu(x @ of["w2"].T + of["b2"])
    return x @ of["w3"].T + of["b3"]


def flat(pictures: Array) -> Array:
    return pictures.reshape(len(pictures), -1) / 255


@pytest.mark.parametrize("workers", [1, 3])
def test_gradients_are_those_of_plain_products(data: str, workers: int) -> None:
    problem = MLP(width=5, depth=2).load("float64", data)
    x = starts(problem, workers)
    indices = np.random.default_rng(workers).integers(0, 40, (workers, 6))
    losses, g = gradient(problem, x, indices)
    for row, at, loss, result in zip(x, indices, losses, g, strict=True):
        of = parameters(row, SHAPES)
        expected, slope = loss_and_gradient(plain(of, flat(BYTES[at])), LABELS[at], of)
        np.testing.assert_allclose(loss, expected, atol=EXACT)
        np.testing.assert_allclose(result, slope, atol=EXACT)


@pytest.mark.parametrize("elements", [1, 100, 2**22])
def test_scores_are_those_of_a_plain_forward_in_pieces_of_any_size(
    data: str, elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "ELEMENTS", elements)
    problem = MLP(width=5, depth=2).load("float64", data)
    x = starts(problem, 2) * 3
    for row, loss, accuracy in zip(x, *problem.evaluate(x), strict=True):
        logits = plain(parameters(row, SHAPES), flat(TESTED))
        np.testing.assert_allclose(
            loss, cross_entropy(logits, torch.from_numpy(WANTED)).item(), atol=EXACT
        )
        assert accuracy == np.mean(logits.argmax(1).numpy() == WANTED)


def test_on_the_digits_it_equals_the_task_digits() -> None:
    one, other = MLP(width=7, depth=2).load("float32"), Digits(7, depth=2).load("float32")
    x, indices = starts(one, 2), np.arange(16).reshape(2, 8) * 80
    np.testing.assert_array_equal(x, starts(other, 2))
    np.testing.assert_array_equal(gradient(one, x, indices)[1], gradient(other, x, indices)[1])
    np.testing.assert_array_equal(one.evaluate(x), other.evaluate(x))


def test_standardised_features_have_mean_0_and_deviation_1(tmp_path: Path) -> None:
    train = np.random.default_rng(1).standard_normal((50, 4)) * [1, 100, 0, 1e-3] + [0, 5, 7, -1]
    tested = train[:9] + 1
    labels, expected = np.arange(50) % 2, np.zeros(9, np.int64)
    path = write(tmp_path / "x.h5", x=train, y=labels, x_test=tested, y_test=expected)
    problem = MLP(width=3, standardise=True).load("float64", path)
    views = problem.inputs.numpy()
    varies = [0, 1, 3]
    np.testing.assert_allclose(views.mean(0), 0, atol=1e-11)  # deviations from -1 of 1e-3
    np.testing.assert_allclose(views[:, varies].std(0), 1, atol=1e-11)
    np.testing.assert_array_equal(views[:, 2], 0)
    x = starts(problem, 1)
    of = parameters(x[0], {"w1": (3, 4), "b1": (3,), "w2": (2, 3), "b2": (2,)})
    scaled = np.zeros_like(tested)
    scaled[:, varies] = ((tested - train.mean(0)) / train.std(0).clip(1e-9))[:, varies]
    hidden = torch.relu(torch.from_numpy(scaled) @ of["w1"].T + of["b1"])
    loss = cross_entropy(hidden @ of["w2"].T + of["b2"], torch.from_numpy(expected))
    np.testing.assert_allclose(problem.evaluate(x)[0], loss.item(), rtol=1e-9)  # scaled by 1e3


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 10**8), st.integers(1, 5000), st.integers(1, 1000), st.integers(1, 4))
@example(10**8, 1, 1, 1)  # the maximum
def test_the_option_parameters_sets_the_smallest_width(
    expected: int, inputs: int, classes: int, depth: int
) -> None:
    widths = widths_of(inputs, classes, 128, depth, expected)
    hidden = widths[1]
    assert widths == [inputs, *[hidden] * depth, classes]
    assert count(widths) >= expected
    assert hidden == 1 or count([inputs, *[hidden - 1] * depth, classes]) < expected


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=2, max_size=5))
def test_the_number_of_parameters_equals_torch(widths: list[int]) -> None:
    module = perceptron(widths)
    assert count(widths) == sum(p.numel() for p in module.parameters())
    assert module(torch.zeros(2, widths[0])).shape == (2, widths[-1])


def test_a_problem_has_at_least_the_requested_parameters(data: str) -> None:
    problem = MLP(parameters=1000).load("float32", data)
    assert problem.d == len(problem.initial(0)) == problem.layers[-1].stop
    assert 1000 <= problem.d < 1000 + 12 + 1 + 3  # less than one unit too many


def test_workers_hold_their_own_samples_once(data: str) -> None:
    problem = MLP(width=5).load("float64", data)
    shards = [np.array([3, 9, 3]), np.array([9, 39]), np.array([0])]
    places = problem.hold(range(4, 7), shards)
    assert len(problem.inputs) == 4  # 0, 3, 9 and 39
    for shard, at in zip(shards, places, strict=True):
        np.testing.assert_array_equal(problem.inputs_at(at), flat(BYTES[shard]))
        np.testing.assert_array_equal(problem.targets.numpy()[at], LABELS[shard])
    everything = problem.features()
    np.testing.assert_array_equal(everything, BYTES.reshape(40, 12))


def test_workers_train_on_altered_samples(data: str) -> None:
    problem = MLP(width=5, depth=2).load("float64", data)
    x = starts(problem, 2)
    before = problem.evaluate(x)
    shards = [np.array([3, 9]), np.array([9, 39])]
    places = problem.hold(range(1, 3), shards, shifted)
    np.testing.assert_array_equal(problem.evaluate(x), before)
    losses, _ = gradient(problem, x, np.stack(places))
    for worker, (row, shard, at) in enumerate(zip(x, shards, places, strict=True), start=1):
        inputs, labels = shifted(worker, flat(BYTES[shard]), LABELS[shard])
        np.testing.assert_array_equal(problem.inputs_at(at), inputs)
        loss = cross_entropy(plain(parameters(row, SHAPES), inputs), torch.from_numpy(labels))
        np.testing.assert_allclose(losses[worker - 1], loss.item(), atol=EXACT)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width must be >= 1, got 0"),
        ({"depth": -1}, "depth must be >= 0, got -1"),
        ({"parameters": -5}, "parameters must be >= 0, got -5"),
        (
            {"parameters": 1000, "width": 64},
            "parameters=1000 sets the width: leave width=64 out",
        ),
        (
            {"parameters": 1000, "depth": 0},
            "parameters needs a hidden layer to make wider: depth >= 1, got 0",
        ),
        ({"held_out": 0.0}, "held_out must be in (0, 1), got 0.0"),
        ({"held_out": 1.0}, "held_out must be in (0, 1), got 1.0"),
        ({"held_out": float("nan")}, "held_out must be in (0, 1), got nan"),
    ],
)
def test_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        MLP(**options)
    assert str(error.value) == message


def test_too_many_parameters_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^parameters must be at most [\d,]+, got 1,000,000,000,000,000,000$"
    ):
        MLP(parameters=10**18).load("float32")
