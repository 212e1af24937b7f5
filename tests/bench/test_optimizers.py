"""SGD against torch.optim.SGD, row by row."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from algorithms.protocol import consecutive_layers
from bench.optimizers import SGD

D = 7
LAYERS = consecutive_layers([(2, 2), (3,)])
STEPS = 20
VARIANTS = [
    (momentum, nesterov, decay)
    for momentum, nesterov, decay in itertools.product((0.0, 0.5, 0.9), (False, True), (0.0, 0.01))
    if momentum or not nesterov
]


def by_torch(
    kind: Callable[..., torch.optim.Optimizer],
    x: NDArray[np.float64],
    gradients: NDArray[np.float64],
    **options: Any,
) -> NDArray[np.float64]:
    """Return the rows of x after an optimizer of torch along gradients (steps, V, d)."""
    rows = [torch.nn.Parameter(torch.from_numpy(row.copy())) for row in x]
    optimizer = kind(rows, **options)
    for step in gradients:
        for row, g in zip(rows, step, strict=True):
            row.grad = torch.from_numpy(g.copy())
        optimizer.step()
    return np.stack([row.detach().numpy() for row in rows])


@pytest.mark.parametrize("workers", [1, 7])
@pytest.mark.parametrize(("momentum", "nesterov", "decay"), VARIANTS)
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_takes_the_steps_of_torch(
    momentum: float,
    nesterov: bool,
    decay: float,
    workers: int,
    library: str,
) -> None:
    named: dict[str, Any] = {
        "lr": 0.07,
        "momentum": momentum,
        "nesterov": nesterov,
        "weight_decay": decay,
    }
    options = SGD(**named)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((workers, D))
    gradients = rng.standard_normal((STEPS, workers, D))
    expected = by_torch(torch.optim.SGD, x, gradients, **named)
    arrays = (lambda a: a) if library == "numpy" else torch.from_numpy  # the same memory
    state = options.init(arrays(x), LAYERS)
    for gradient in gradients:
        g = gradient + options.l2 * x  # as TrainingWorkers.gradient does
        original = g.copy()
        options.update(arrays(x), arrays(g), state)
        np.testing.assert_array_equal(g, original)
    np.testing.assert_allclose(x, expected, rtol=0, atol=1e-12)  # float64, 20 steps


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_step_has_the_same_bits_at_any_position_of_a_parameter(
    dtype: type, nesterov: bool
) -> None:
    options = SGD(lr=0.0137, momentum=0.9, nesterov=nesterov)
    x, *gradients = np.random.default_rng(0).standard_normal((3, 1, 70_001)).astype(dtype)
    cuts = [(0, 70_001), (0, 1), (1, 2), (5, 12), (3, 100), (7, 64_000), (33, 70_000)]
    actual = {}
    for lo, hi in cuts:
        part = torch.from_numpy(x[:, lo:hi].copy())
        state = options.init(part, LAYERS)
        for g in gradients:
            options.update(part, torch.from_numpy(g[:, lo:hi]), state)
        actual[lo, hi] = part.numpy()
    whole = actual[cuts[0]]
    for lo, hi in cuts:
        np.testing.assert_array_equal(actual[lo, hi], whole[:, lo:hi])


def test_float32_stays_float32_and_one_step_is_the_formula() -> None:
    x, g = np.full((2, 3), 2, np.float32), np.full((2, 3), 4, np.float32)
    options = SGD(lr=0.25, momentum=0.5)
    state = options.init(x, consecutive_layers([(3,)]))
    for expected in (1.0, -0.5):  # v = 4, then 0.5 * 4 + 4
        options.update(x, g, state)
        np.testing.assert_array_equal(x, np.float32(expected))
    assert x.dtype == state.velocity.dtype == np.float32
    np.testing.assert_array_equal(state.velocity, np.float32(6))


def test_without_momentum_the_velocity_is_empty() -> None:
    assert SGD().init(np.zeros((5, 4)), consecutive_layers([(4,)])).velocity.shape == (0, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.0}, "lr must be > 0 and finite, got 0.0"),
        ({"lr": -0.1}, "lr must be > 0 and finite, got -0.1"),
        ({"lr": float("inf")}, "lr must be > 0 and finite, got inf"),
        ({"lr": float("nan")}, "lr must be > 0 and finite, got nan"),
        ({"momentum": 1.0}, "momentum must be in [0, 1), got 1.0"),
        ({"momentum": -0.5}, "momentum must be in [0, 1), got -0.5"),
        ({"momentum": float("nan")}, "momentum must be in [0, 1), got nan"),
        ({"weight_decay": -1.0}, "weight_decay must be >= 0 and finite, got -1.0"),
        ({"weight_decay": float("inf")}, "weight_decay must be >= 0 and finite, got inf"),
        ({"weight_decay": float("nan")}, "weight_decay must be >= 0 and finite, got nan"),
        ({"nesterov": True}, "nesterov needs momentum > 0, e.g. momentum=0.9"),
    ],
)
def test_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        SGD(**options)
    assert str(error.value) == message
