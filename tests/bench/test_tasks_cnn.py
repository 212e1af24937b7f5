"""The convolutional network: against torch's functions, with and without batch norm."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn.functional import batch_norm, conv2d, cross_entropy, linear

from bench.tasks import convolution, model
from bench.tasks.classifier import Classifier
from bench.tasks.cnn import CNN
from bench.tasks.convolution import count, network
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

CONVOLUTIONS: Plain = {"c1": (2, 3, 5, 5), "b1": (2,), "c2": (4, 2, 5, 5), "b2": (4,)}
NORMED = {x: CONVOLUTIONS[x.replace("s", "b")] for x in ("c1", "s1", "b1", "c2", "s2", "b2")}
LINEAR: Plain = {"w": (3, 4 * 3 * 2), "b": (3,)}
SHAPES = {"none": CONVOLUTIONS | LINEAR, "batch": NORMED | LINEAR}
RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (30, 3, 9, 8), np.uint8)
TESTED = RNG.integers(0, 256, (13, 3, 9, 8), np.uint8)
LABELS = np.sort(np.arange(30) % 3)  # as in files that are sorted by class
WANTED = np.arange(13) % 3
EXACT = 1e-12  # float64, sums of some dozens
NORMS = pytest.mark.parametrize("norm", ["none", "batch"])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write coloured pictures, 9 by 8, of three classes, with a test set."""
    path = tmp_path_factory.mktemp("data") / "pictures.h5"
    return write(path, x=BYTES, y=LABELS, x_test=TESTED, y_test=WANTED)


def small(data: str, norm: str) -> Classifier:
    return CNN(channels=2, norm=norm).load("float64", data)


def plain(
    of: dict[str, torch.Tensor], pictures: Array, calibration: Array | None = None
) -> torch.Tensor:
    """Return the logits by torch's functions. calibration: pictures for the statistics."""
    x, c = torch.from_numpy(pictures), torch.zeros(0)
    if calibration is not None:
        c = torch.from_numpy(calibration)
    for i in ("1", "2"):
        kernel, bias = of["c" + i], of["b" + i]
        if "s1" not in of:
            x = torch.relu(conv2d(x, kernel, bias, stride=2, padding=2))
            continue
        scale = of["s" + i]
        x = conv2d(x, kernel, stride=2, padding=2)
        if calibration is None:
            x = torch.relu(batch_norm(x, None, None, scale, bias, training=True))
            continue
        c = conv2d(c, kernel, stride=2, padding=2)
        variance, mean = torch.var_mean(c.detach(), (0, 2, 3), correction=0)
        x, c = (torch.relu(batch_norm(part, mean, variance, scale, bias)) for part in (x, c))
    return linear(x.flatten(1), of["w"], of["b"])


@NORMS
@pytest.mark.parametrize("workers", [1, 3])
def test_gradients_are_those_of_torch_functions(data: str, norm: str, workers: int) -> None:
    problem = small(data, norm)
    x = starts(problem, workers)
    indices = np.random.default_rng(workers).integers(0, 30, (workers, 5))
    losses, g = gradient(problem, x, indices)
    for row, at, loss, result in zip(x, indices, losses, g, strict=True):
        of = parameters(row, SHAPES[norm])
        expected, slope = loss_and_gradient(plain(of, BYTES[at] / 255), LABELS[at], of)
        np.testing.assert_allclose(loss, expected, atol=EXACT)
        np.testing.assert_allclose(result, slope, atol=EXACT)


def calibrating(monkeypatch: pytest.MonkeyPatch, data: str) -> tuple[Classifier, Array]:
    """Return a network with batch norm and the 12 training pictures that calibrate it."""
    monkeypatch.setattr(convolution, "CALIBRATION", 12)
    read: list[NDArray[np.int64]] = []

    class Watched(convolution.NormedNetwork):
        def training(self, indices: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
            read.append(indices)
            return super().training(indices)

    monkeypatch.setattr(convolution, "NormedNetwork", Watched)
    problem = small(data, "batch")
    problem.evaluate(starts(problem, 1))
    (chosen,) = read
    assert len(set(chosen.tolist())) == 12
    assert set(LABELS[chosen].tolist()) == {0, 1, 2}  # although the file is sorted
    return problem, BYTES[chosen] / 255


@pytest.mark.parametrize("elements", [1, 2**22])
@NORMS
def test_scores_are_those_of_torch_functions(
    data: str, norm: str, elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "ELEMENTS", elements)
    if norm == "batch":
        problem, calibration = calibrating(monkeypatch, data)
    else:
        problem, calibration = small(data, norm), None
    x = starts(problem, 2)
    x = np.concatenate([x, x.mean(0, keepdims=True)])  # the mean model has statistics of its own
    for row, loss, accuracy in zip(x, *problem.evaluate(x), strict=True):
        logits = plain(parameters(row, SHAPES[norm]), TESTED / 255, calibration)
        expected = cross_entropy(logits, torch.from_numpy(WANTED)).item()
        np.testing.assert_allclose(loss, expected, atol=EXACT)
        assert accuracy == np.mean(logits.argmax(1).numpy() == WANTED)


@NORMS
@pytest.mark.parametrize("workers", [1, 2])
def test_evaluation_does_not_affect_training(data: str, norm: str, workers: int) -> None:
    problem = small(data, norm)
    x, g = starts(problem, workers), np.zeros((workers, problem.d))
    learner = problem.learner(x, g)
    batch = learner.fetch(np.arange(workers * 6).reshape(workers, 6) * 2)
    learner.gradient(batch)
    before = g.copy()
    assert (before != 0).any(axis=1).all()
    problem.evaluate(x)
    learner.gradient(batch)
    np.testing.assert_array_equal(g, before)
    shorter = learner.fetch(np.arange(workers * 3).reshape(workers, 3))  # traced again
    learner.gradient(shorter)
    again = np.zeros_like(g)
    anew = small(data, norm).learner(x, again)
    anew.gradient(anew.fetch(np.arange(workers * 3).reshape(workers, 3)))
    np.testing.assert_array_equal(g, again)


@NORMS
def test_altered_samples_do_not_change_the_evaluation(data: str, norm: str) -> None:
    problem = small(data, norm)
    x = starts(problem, 2)
    before = problem.evaluate(x)
    shards = [np.array([3, 9, 4]), np.array([9, 29, 28])]
    places = problem.hold(range(1, 3), shards, shifted)
    np.testing.assert_array_equal(problem.evaluate(x), before)
    losses, _ = gradient(problem, x, np.stack(places))
    for worker, (row, shard) in enumerate(zip(x, shards, strict=True), start=1):
        inputs, labels = shifted(worker, BYTES[shard] / 255, LABELS[shard])
        logits = plain(parameters(row, SHAPES[norm]), inputs)
        loss = cross_entropy(logits, torch.from_numpy(labels)).item()
        np.testing.assert_allclose(losses[worker - 1], loss, atol=EXACT)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 4),
    st.tuples(st.integers(1, 3), st.integers(8, 33), st.integers(8, 33)),
    st.integers(1, 12),
    st.sampled_from(["none", "batch"]),
)
def test_the_number_of_parameters_equals_torch(
    channels: int, shape: tuple[int, int, int], classes: int, norm: str
) -> None:
    module = network(shape, channels, classes, norm)
    assert count(channels, shape, classes, norm) == sum(p.numel() for p in module.parameters())
    assert module(torch.zeros(2, *shape)).shape == (2, classes)


@NORMS
def test_the_option_parameters_sets_the_fewest_channels(norm: str) -> None:
    problem = CNN(parameters=5000, norm=norm).load("float32")
    sizes = [count(channels, (1, 8, 8), 10, norm) for channels in range(1, 50)]
    assert problem.d == min(size for size in sizes if size >= 5000)


def test_without_data_it_learns_the_digits() -> None:
    problem = CNN(channels=1).load("float32")
    assert problem.inputs.shape == (1437, 1, 8, 8)
    assert (float(problem.inputs.min()), float(problem.inputs.max())) == (0, 1)


@pytest.mark.parametrize("shape", [(30,), (7, 8), (8, 8, 5), (2, 3, 8, 8)])
def test_inputs_other_than_pictures_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = write(tmp_path / "x.h5", x=np.zeros((10, *shape)), y=np.arange(10) % 2)
    with pytest.raises(ValueError) as error:  # noqa: PT011
        CNN().load("float32", path)
    assert str(error.value) == (
        "cnn needs pictures, (height, width) or (channels, height, width) of 8 pixels or more a "
        f"side, got inputs of shape {shape}: mlp takes any"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 0}, "channels must be >= 1, got 0"),
        ({"parameters": -1}, "parameters must be >= 0, got -1"),
        (
            {"parameters": 9000, "channels": 4},
            "parameters=9000 sets the channels: leave channels=4 out",
        ),
        ({"norm": "layer"}, "norm must be one of none, batch, got 'layer'"),
        ({"held_out": 1.5}, "held_out must be in (0, 1), got 1.5"),
    ],
)
def test_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        CNN(**options)
    assert str(error.value) == message
