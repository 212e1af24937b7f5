"""Tasks of one's own: classification and any other loss, placement, separation, mistakes."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from mpi4py import MPI

from bench.results.reader import read
from bench.runtime import setup, start
from bench.runtime.experiment import Experiment
from bench.runtime.options import TrainOptions
from bench.tasks import TASKS
from bench.tasks.own import TorchTask
from bench.tasks.own_problem import OwnProblem
from bench.tasks.protocol import Metric
from bench.train import train
from partitions.protocol import Samples
from tests.helpers import all_rows, everywhere, on, sha
from tests.test_docs import text

Linear = torch.nn.Linear


@dataclass(frozen=True)
class Spirals(TorchTask):
    """Three spirals in a plane."""

    turns: float = field(default=1.0, metadata={"help": "turns of a spiral"})

    def model(self) -> torch.nn.Module:
        return torch.nn.Sequential(Linear(2, 16), torch.nn.ReLU(), Linear(16, 3))

    def samples(self) -> Any:
        label, radius = torch.arange(300) % 3, torch.rand(300)
        angle = 2 * torch.pi * (self.turns * radius + label / 3)
        return torch.stack([radius * angle.cos(), radius * angle.sin()], 1), label


@dataclass(frozen=True)
class Sine(TorchTask):
    """Regression of two numbers, with samples to evaluate of its own."""

    metric: ClassVar[Metric] = Metric("error", "min")

    def model(self) -> torch.nn.Module:
        return torch.nn.Sequential(Linear(3, 8), torch.nn.Tanh(), Linear(8, 2))

    def samples(self) -> Any:
        x = np.random.normal(size=(130, 3)).astype(np.float32)
        y = np.sin(x[:, :2])
        return x[:100], y[:100], x[100:], y[100:]

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.mse_loss(outputs, targets)

    def score(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (outputs - targets).abs().mean()


def problem_of(task: TorchTask, dtype: str) -> OwnProblem:
    problem = task.load(dtype)
    assert isinstance(problem, OwnProblem)
    return problem


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register both tasks, which no file names here."""
    monkeypatch.setitem(TASKS, "spirals", Spirals)
    monkeypatch.setitem(TASKS, "sine", Sine)


def digest(comm: MPI.Intracomm, task: str, **options: Any) -> str:
    """Return the SHA-256 of the parameters of seven workers after some steps."""
    chosen: dict[str, Any] = {
        "algorithm": "d_psgd",
        "partition": "dirichlet:alpha=0.5",
        "workers": 7,
    } | options
    experiment = Experiment.resolve(TrainOptions(task=task, batch=4, **chosen), comm.size)
    data = setup.material(comm, experiment)
    exchange, workers = start.workers(comm, experiment, data)
    state = start.initial_state(experiment, exchange, workers)
    for _ in range(5):
        experiment.algorithm.step(exchange, workers, state)
    rows = all_rows(comm, workers.x)
    exchange.close()
    assert np.isfinite(rows).all()
    return sha(rows)


@pytest.mark.mpi
@on(2, 3)
@pytest.mark.parametrize("task", ["spirals:turns=2", "sine"])
def test_parameters_do_not_depend_on_placement(comm: MPI.Intracomm, task: str) -> None:
    everywhere(comm, digest(comm, task) == digest(MPI.COMM_SELF, task))


@pytest.mark.parametrize("task", [Spirals(), Sine()])
def test_gradients_are_those_of_autograd(task: TorchTask) -> None:
    problem = problem_of(task, "float64")
    x = np.random.default_rng(0).normal(size=(3, problem.d))
    g, alone = np.zeros_like(x), np.zeros_like(x)
    i = np.arange(12).reshape(3, 4)
    learner = problem.learner(x, g)
    losses = learner.gradient(learner.fetch(i))
    for row in range(3):
        one = problem.learner(x[row : row + 1], alone[row : row + 1])
        loss = one.gradient(one.fetch(i[row : row + 1]))
        np.testing.assert_allclose(losses[row], loss[0], rtol=1e-12)
    np.testing.assert_allclose(g, alone, rtol=1e-9, atol=1e-12)
    assert np.abs(g).max() > 0


def test_scores_are_those_of_the_task() -> None:
    task = Sine()
    problem = problem_of(task, "float64")
    row = problem.initial(0)
    loss, metric = problem.evaluate(row[None])
    inputs, targets = problem._held_out
    assert (problem.eval_samples, inputs.shape, targets.shape) == (30, (30, 3), (30, 2))
    outputs = problem.build(0)(inputs)
    np.testing.assert_allclose(loss[0], task.loss(outputs, targets).item())
    np.testing.assert_allclose(metric[0], task.score(outputs, targets).item())


def test_samples_are_the_same_at_every_call_and_leave_random_numbers_alone() -> None:
    state, numbers = torch.random.get_rng_state(), np.random.get_state(legacy=True)
    first, again = (problem_of(x(), "float32") for x in (Sine, Sine))
    assert (torch.random.get_rng_state() == state).all()
    assert (np.random.get_state(legacy=True)[1] == numbers[1]).all()  # type: ignore[index]
    assert torch.equal(first.inputs, again.inputs)
    assert torch.equal(first.targets, again.targets)


def test_numbers_have_their_deciles_as_classes() -> None:
    problem = problem_of(Sine(), "float32")
    samples: Samples = problem.samples
    assert np.bincount(samples.labels).tolist() == [10] * 10
    values = problem.targets[:, 0].numpy()
    assert values[samples.labels == 0].max() <= values[samples.labels == 9].min()
    assert problem.features().shape == (100, 3), "targets are no features"


def test_a_validation_split_keeps_inputs_and_targets_together() -> None:
    problem = problem_of(Sine(), "float32")
    apart = problem.hold_out(np.arange(0, 100, 5))
    for part in (problem.inputs, problem.targets):
        assert len(part) == 80
    torch.testing.assert_close(problem.targets, problem.inputs[:, :2].sin())
    inputs, targets = apart._held_out
    torch.testing.assert_close(targets, inputs[:, :2].sin())


def test_inputs_are_altered_and_numbers_are_not_flipped() -> None:
    problem = problem_of(Sine(), "float32")
    i = np.arange(6)
    before = problem.targets[:6].clone()
    problem.hold(range(1), [i], lambda worker, x, y: (x * 2, y))
    assert torch.equal(problem.targets, before)
    problem = problem_of(Sine(), "float32")
    with pytest.raises(ValueError, match="which no partition can flip"):
        problem.hold(range(1), [i], lambda worker, x, y: (x, y + 1))


def variant(**parts: Any) -> TorchTask:
    """Return a task of Spirals with some of its parts replaced."""
    kind: Any = dataclass(frozen=True)(type("Variant", (Spirals,), parts))
    task: TorchTask = kind()
    return task


def module(*layers: torch.nn.Module) -> Any:
    return lambda self: torch.nn.Sequential(*layers)


X, Y = np.ones((20, 2)), np.arange(20) % 3


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (variant(model=module(Linear(2, 2))), "returns 2 logits, and the targets have 3 classes"),
        (variant(model=module(Linear(2, 4), torch.nn.BatchNorm1d(4))), "track_running_stats=False"),
        (variant(model=module(Linear(2, 4), torch.nn.Dropout())), "Dropout, whose draws"),
        (variant(samples=lambda self: (X, Y, X)), "returns 3 arrays"),
        (variant(samples=lambda self: (X, Y[:5])), "give one target a sample"),
        (variant(samples=lambda self: (X[:2], Y[:2])), "returns 2 samples: too few"),
        (variant(samples=lambda self: (X, Y - 1)), "targets below 0"),
        (variant(samples=lambda self: (X, Y / 2)), "define loss(outputs, targets)"),
        (
            variant(samples=lambda self: (X, Y / 2), loss=lambda self, a, b: a.sum()),
            "a loss of its own and no metric",
        ),
        (variant(loss=lambda self, a, b: a), "loss returns shape (2, 3): return the mean loss"),
    ],
)
def test_mistakes_are_one_line(task: TorchTask, words: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        problem_of(task, "float32")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_the_problem_is_one_of_a_task() -> None:
    assert isinstance(Spirals().load("float32"), OwnProblem)


def test_the_task_of_the_docs_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = text("docs/own-code.md").partition("## My task")[2]
    (tmp_path / "mine.py").write_text(section.partition("```python\n")[2].partition("```")[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mine.py", raising=False)
    options = TrainOptions(
        task="mine.py:Spirals",
        partition="dirichlet:alpha=0.3",
        optimizer="sgd:lr=0.2,momentum=0.9",
        workers=4,
        steps=300,
        eval_every=300,
    )
    experiment = Experiment.resolve(options, 1)
    assert train(MPI.COMM_SELF, experiment, [], quiet=True) == 0
    assert read(experiment.path).row().metric > 0.7  # a linear model has 0.4
    monkeypatch.delitem(sys.modules, "mine.py")
