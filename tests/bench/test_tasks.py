"""Tasks: gradients, starts and scores against a plain torch module and against formulas."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy

from algorithms.wire.meter import DATA, GRADIENT, UPDATE, Meter
from bench.data.opening import DIGITS_TRAINING as TRAINING
from bench.optimizers import SGD
from bench.runtime.batches import Batches
from bench.runtime.workers import TrainingWorkers
from bench.tasks import many_models
from bench.tasks.classifier import Classifier
from bench.tasks.digits import Digits
from bench.tasks.protocol import Metric
from bench.tasks.quadratic import Quadratic

HIDDEN = 11
D = 64 * HIDDEN + HIDDEN + HIDDEN * 10 + 10
FLOATS = {"float32": torch.float32, "float64": torch.float64}


def plain_module(row: NDArray[np.floating]) -> torch.nn.Module:
    """Return the perceptron of Digits, written independently, with these parameters."""
    model = torch.nn.Sequential(
        torch.nn.Linear(64, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, 10)
    ).to(torch.from_numpy(row).dtype)
    torch.nn.utils.vector_to_parameters(torch.from_numpy(row.copy()), model.parameters())
    return model


def images(problem: Classifier, held_out: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images and labels, read from scikit-learn."""
    features, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    chosen = order[TRAINING:] if held_out else order[:TRAINING]
    dtype = problem.initial(0).dtype
    return (
        torch.from_numpy((features[chosen] / 16).astype(dtype)),
        torch.from_numpy(labels[chosen].astype(np.int64)),
    )


def random_rows(problem: Classifier, n: int) -> NDArray[np.floating]:
    return np.stack([problem.initial(seed) for seed in range(n)])


def gradient_of_plain(
    problem: Classifier, row: NDArray[np.floating], indices: NDArray[np.int64]
) -> tuple[float, NDArray[np.floating]]:
    model, (inputs, targets) = plain_module(row), images(problem)
    loss = cross_entropy(model(inputs[indices]), targets[indices])
    loss.backward()  # type: ignore[no-untyped-call]
    parts = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return loss.item(), torch.cat(parts).numpy()


def test_digits_holds_out_360_images_and_uses_every_image_once() -> None:
    problem = Digits(HIDDEN).load("float64")
    assert (problem.samples.size, len(problem._held_out[1]), problem.d) == (1437, 360, D)
    assert problem.samples.features is not None
    both = np.concatenate([problem.samples.features, problem._held_out[0].numpy()])
    labels = np.concatenate([problem.samples.labels, problem._held_out[1].numpy()])
    pixels, targets = load_digits(return_X_y=True)
    used = sorted((*image, label) for image, label in zip(both * 16, labels, strict=True))
    assert used == sorted((*image, label) for image, label in zip(pixels, targets, strict=True))
    assert (both.min(), both.max()) == (0, 1)
    assert set(problem.samples.labels.tolist()) == set(range(10))


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_start_is_a_function_of_the_seed_and_leaves_torch_alone(dtype: str) -> None:
    problem = Digits(HIDDEN).load(dtype)
    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    starts = [problem.initial(seed) for seed in (0, 1, 0)]
    Digits(HIDDEN).load(dtype)
    problem.learner(np.zeros((1, D), dtype), np.zeros((1, D), dtype))
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(7)
    assert problem.initial(1).tobytes() == starts[1].tobytes()
    assert starts[0].tobytes() == starts[2].tobytes() != starts[1].tobytes()
    assert starts[0].shape == (D,)
    assert starts[0].dtype == np.dtype(dtype)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_gradients_are_those_of_a_plain_module(
    monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(many_models, "CHUNK", 2)  # 5 workers: chunks of 2, 2 and 1
    problem = Digits(HIDDEN).load("float64")
    indices = np.random.default_rng(workers).integers(0, TRAINING, (workers, 6))
    x, g = random_rows(problem, workers), np.full((workers, D), np.nan)
    learner = problem.learner(x, g)
    original = x.copy()
    losses = learner.gradient(learner.fetch(indices))
    np.testing.assert_array_equal(x, original)
    assert losses.shape == (workers,)
    for i in range(workers):
        loss, gradient = gradient_of_plain(problem, x[i], indices[i])
        np.testing.assert_allclose(losses[i], loss, rtol=0, atol=1e-12)  # float64
        np.testing.assert_allclose(g[i], gradient, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("elements", "models"), [(1, 1), (2 * 6 * (HIDDEN * 2 + 10), 2)])
def test_memory_bounds_the_models_trained_at_once(
    monkeypatch: pytest.MonkeyPatch, elements: int, models: int
) -> None:
    problem = Digits(HIDDEN).load("float64")
    x, indices = random_rows(problem, 5), np.random.default_rng(5).integers(0, TRAINING, (5, 6))
    whole, parts = np.zeros_like(x), np.zeros_like(x)
    learner = problem.learner(x, whole)
    losses = learner.gradient(learner.fetch(indices))
    monkeypatch.setattr(many_models, "ELEMENTS", elements)
    batch = learner.fetch(indices)
    assert [len(inputs) for inputs, _ in batch] == [models] * (5 // models) + [1] * (5 % models)
    other = problem.learner(x, parts)
    np.testing.assert_allclose(other.gradient(batch), losses, rtol=0, atol=1e-12)  # float64
    np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-12)


def test_one_worker_and_many_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many_models, "CHUNK", 2)
    problem = Digits(HIDDEN).load("float64")
    x, indices = random_rows(problem, 5), np.random.default_rng(3).integers(0, TRAINING, (5, 4))
    g = np.zeros_like(x)
    many = problem.learner(x, g)
    losses = many.gradient(many.fetch(indices))
    for i in range(5):
        alone = np.zeros((1, D))
        one = problem.learner(x[i : i + 1], alone)
        loss = one.gradient(one.fetch(indices[i : i + 1]))
        np.testing.assert_allclose(loss[0], losses[i], rtol=0, atol=1e-12)  # float64
        np.testing.assert_allclose(alone[0], g[i], rtol=0, atol=1e-12)


@pytest.mark.parametrize("workers", [1, 3])
def test_rows_are_views_and_losses_are_not(workers: int) -> None:
    problem = Digits(HIDDEN).load("float64")
    x, g = random_rows(problem, workers), np.zeros((workers, D))
    learner = problem.learner(x, g)
    batch = learner.fetch(np.arange(workers * 8).reshape(workers, 8))
    first = learner.gradient(batch)
    original, before = first.copy(), g.copy()
    x *= 2
    second = learner.gradient(batch)
    assert (second != original).all()
    assert (g != before).any(axis=1).all()
    np.testing.assert_array_equal(first, original)  # the recorder keeps them over many steps
    x[0, -1] += 1
    third = learner.gradient(batch)
    np.testing.assert_array_equal(third != second, np.arange(workers) == 0)


@pytest.mark.parametrize("rows", [1, 5])
def test_scores_are_those_of_a_plain_forward(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(many_models, "CHUNK", 2)
    problem = Digits(HIDDEN).load("float64")
    x = random_rows(problem, rows) * 3
    losses, accuracies = problem.evaluate(x)
    inputs, targets = images(problem, held_out=True)
    for row, loss, accuracy in zip(x, losses, accuracies, strict=True):
        logits = plain_module(row)(inputs)
        hits = int((logits.argmax(1) == targets).sum())
        np.testing.assert_allclose(loss, cross_entropy(logits, targets).item(), atol=1e-12)
        assert accuracy == hits / 360


@pytest.mark.parametrize("dtype", FLOATS)
def test_an_accuracy_of_exactly_the_target_reaches_it(dtype: str) -> None:
    """The last bias decides: a class that is always predicted gives hits / 360, in any dtype."""
    problem = Digits(HIDDEN).load(dtype)
    x = np.zeros((10, D), dtype)
    x[np.arange(10), D - 10 + np.arange(10)] = 1  # model c always predicts c
    hits = np.bincount(problem._held_out[1].numpy(), minlength=10)
    np.testing.assert_array_equal(problem.evaluate(x)[1], hits / 360)


@pytest.mark.parametrize(("dtype", "atol"), [("float64", 1e-12), ("float32", 1e-6)])
@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_twenty_steps_are_those_of_a_plain_torch_loop(
    dtype: str, atol: float, decay: float
) -> None:
    problem = Digits(HIDDEN).load(dtype)
    shards = [np.arange(100), np.arange(100, 177)]
    x, g, meter = np.empty((1, D), dtype), np.zeros((1, D), dtype), Meter()
    workers = TrainingWorkers(
        problem,
        SGD(lr=0.05, momentum=0.9, weight_decay=decay),
        lambda _: Batches(shards, range(1, 2), 16, seed=4),
        x,
        g,
        ids=range(1, 2),
        samples=np.array([100, 77]),
        seed=9,
        meter=meter,
    )
    model, (inputs, targets) = plain_module(problem.initial(9)), images(problem)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=decay)
    for indices in Batches(shards, range(2), 16, seed=4).at(0, 20)[:, 1]:
        losses = workers.gradient()
        workers.update()
        optimizer.zero_grad()
        loss = cross_entropy(model(inputs[indices]), targets[indices])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        np.testing.assert_allclose(losses, [loss.item()], rtol=0, atol=atol)
    flat = torch.nn.utils.parameters_to_vector(model.parameters()).detach().numpy()
    np.testing.assert_allclose(x[0], flat, rtol=0, atol=atol)
    assert (workers.total, workers.losses is losses) == (2, True)
    assert all(meter.ns[phase] > 0 for phase in (DATA, GRADIENT, UPDATE))


def quadratic(dtype: str = "float64", **options: Any) -> Any:
    return Quadratic(**{"dimension": 4, "samples": 37, "classes": 5} | options).load(dtype)


def gradient_at(problem: Any, x: NDArray[np.floating], indices: NDArray[np.int64]) -> Any:
    g = np.full_like(x, np.nan)
    learner = problem.learner(x, g)
    return learner.gradient(learner.fetch(indices)), g


def test_quadratic_has_no_gradient_at_the_optimum_over_all_samples() -> None:
    problem = quadratic()
    everything = np.arange(37)[None]
    _, g = gradient_at(problem, problem.optimum[None].copy(), everything)
    np.testing.assert_allclose(g, 0, atol=1e-14)  # float64
    loss, distance = problem.evaluate(problem.optimum[None])
    assert distance == [0]
    for shift in np.eye(4) * 0.1:
        assert problem.evaluate((problem.optimum + shift)[None])[0] > loss


def test_quadratic_gradient_by_finite_differences() -> None:
    problem = quadratic(condition=50.0)
    rng = np.random.default_rng(0)
    x, indices = rng.standard_normal((3, 4)), rng.integers(0, 37, (3, 6))
    losses, g = gradient_at(problem, x, indices)
    np.testing.assert_allclose(
        losses,
        [
            np.mean(problem.h[i] * ((row - problem.b[i]) ** 2).sum(1)) / 2
            for row, i in zip(x, indices, strict=True)
        ],
    )
    step = 1e-4  # central differences of a quadratic are exact up to rounding
    for j in range(4):
        ahead, behind = x.copy(), x.copy()
        ahead[:, j] += step
        behind[:, j] -= step
        slope = gradient_at(problem, ahead, indices)[0] - gradient_at(problem, behind, indices)[0]
        np.testing.assert_allclose(slope / (2 * step), g[:, j], atol=1e-10)


@pytest.mark.parametrize("dtype", FLOATS)
def test_quadratic_scores_in_float64_for_rows_of_any_dtype(dtype: str) -> None:
    problem = quadratic(dtype)
    x = np.random.default_rng(1).standard_normal((6, 4)).astype(dtype)
    losses, distances = problem.evaluate(x)
    b, h = problem.b.astype(float), problem.h.astype(float)
    for row, loss, distance in zip(x.astype(float), losses, distances, strict=True):
        np.testing.assert_allclose(loss, (h * ((row - b) ** 2).sum(1)).mean() / 2, rtol=1e-12)
        apart = np.linalg.norm(row - problem.optimum) / np.linalg.norm(problem.optimum)
        np.testing.assert_allclose(distance, apart, rtol=1e-12)
    assert losses.dtype == distances.dtype == np.float64


@pytest.mark.parametrize("dtype", FLOATS)
def test_quadratic_starts_and_data(dtype: str) -> None:
    problem, again = quadratic(dtype), quadratic(dtype)
    np.testing.assert_array_equal(problem.b, again.b)
    assert (
        problem.initial(3).tobytes() == again.initial(3).tobytes() != problem.initial(4).tobytes()
    )
    assert problem.initial(3).dtype == problem.b.dtype == problem.h.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(np.bincount(problem.samples.labels), [8, 8, 7, 7, 7])
    curvatures = [set(problem.h[problem.samples.labels == c].tolist()) for c in range(5)]
    assert [len(values) for values in curvatures] == [1] * 5
    assert problem.h.max() / problem.h.min() == pytest.approx(10, rel=1e-6)  # float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dimension": 0}, "dimension must be >= 1, got 0"),
        ({"samples": 0}, "samples must be >= 1, got 0"),
        ({"classes": -1}, "classes must be >= 1, got -1"),
        ({"spread": -1.0}, "spread must be >= 0"),
        ({"spread": float("nan")}, "spread must be >= 0"),
        ({"noise": -0.1}, "noise must be >= 0"),
        ({"noise": float("inf")}, "noise must be >= 0"),
        ({"condition": 0.5}, "condition must be >= 1"),
        ({"condition": float("nan")}, "condition must be >= 1"),
        ({"condition": float("inf")}, "condition must be >= 1"),
        ({"samples": 9}, "samples must be at least the number of classes, 10, got 9"),
    ],
)
def test_quadratic_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        Quadratic(**options)
    assert str(error.value).startswith(message)
    assert str(error.value).endswith(f"got {next(iter(options.values()))}")


def test_digits_refuses_no_hidden_units() -> None:
    with pytest.raises(ValueError, match=r"^hidden must be >= 1, got 0$"):
        Digits(0)


def test_the_worst_and_the_target_follow_the_direction() -> None:
    up, down = Metric("accuracy", "max"), Metric("distance", "min")
    values = np.array([0.5, 0.1, 0.9])
    assert (up.worst(values), down.worst(values)) == (0.1, 0.9)
    assert up.reached(0.5, 0.5)
    assert up.reached(0.6, 0.5)
    assert not up.reached(0.4, 0.5)
    assert down.reached(0.5, 0.5)
    assert down.reached(0.4, 0.5)
    assert not down.reached(0.6, 0.5)
    for metric in (up, down):
        assert np.isnan(metric.worst(np.array([0.5, np.nan])))
        assert not metric.reached(float("nan"), 0.5)


def test_torch_is_imported_by_the_tasks_that_need_it_only() -> None:
    script = (
        "import sys; import bench.runtime.experiment; from bench.tasks import TASKS; "
        "made = [cls() for cls in TASKS.values()]; problem = TASKS['quadratic']().load('float32'); "
        "problem.evaluate(problem.initial(0)[None]); assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
