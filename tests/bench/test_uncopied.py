"""Gradients of large linear layers, written in place: bit for bit those of autograd."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.tasks import learners
from bench.tasks.digits import Digits
from bench.tasks.mlp import MLP
from bench.tasks.transformer import Transformer
from tests.helpers import Array

TASKS = {
    "digits": Digits(hidden=64, depth=2),
    "mlp": MLP(width=20, depth=3),
    "mlp without a hidden layer": MLP(depth=0),
    "transformer": Transformer(context=6, width=8, depth=2, heads=2),
}


def gradients(task: Any, dtype: str, data: str, steps: int = 3) -> list[Array]:
    """Return the gradients of steps along them."""
    problem = task.load(dtype, data)
    x = problem.initial(0)[None].copy()
    g = np.full_like(x, np.nan)
    learner = problem.learner(x, g)
    actual = []
    for k in range(steps):
        indices = np.random.default_rng(k).integers(0, problem.samples.size, (1, 5))
        learner.gradient(learner.fetch(indices))
        x -= g.dtype.type(0.1) * g
        actual.append(g.copy())
    return actual


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", TASKS)
def test_gradients_equal_autograd_bit_for_bit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, dtype: str
) -> None:
    data = ""
    if name == "transformer":
        data = str(tmp_path / "text.txt")
        Path(data).write_text("A:\n" + "the quick brown fox jumps over the lazy dog\n" * 20)
    written, write = [], learners.write_gradient

    def writes(layer: torch.nn.Linear, gradient: torch.Tensor) -> None:
        written.append(layer)
        write(layer, gradient)

    monkeypatch.setattr(learners, "write_gradient", writes)
    expected = gradients(TASKS[name], dtype, data)
    assert not written
    monkeypatch.setattr(learners, "WORTH", 0)
    actual = gradients(TASKS[name], dtype, data)
    assert written
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_small_shared_and_unbiased_layers_are_left_to_autograd() -> None:
    tied, also = torch.nn.Linear(600, 600), torch.nn.Linear(600, 600)
    also.weight = tied.weight
    alone = torch.nn.Linear(512, 512)
    small, unbiased = torch.nn.Linear(511, 512), torch.nn.Linear(600, 600, bias=False)
    module = torch.nn.Sequential(tied, also, alone, small, unbiased)
    assert learners.large_layers(module) == [alone]
