"""Adam and AdamW against torch.optim, row by row and block by block."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from algorithms.protocol import consecutive_layers
from bench.optimizers import Adam, AdamW, blocks
from tests.bench.test_optimizers import by_torch as follow

LAYERS = consecutive_layers([(2, 3), (3,)])
D = LAYERS[-1].stop
STEPS = 20
VARIANTS = [
    Adam(lr=0.05),
    Adam(lr=0.05, weight_decay=0.1, beta1=0.5, beta2=0.9, eps=1e-3),
    AdamW(lr=0.05, weight_decay=0.3),
    AdamW(lr=0.05, weight_decay=0.0),
]


def by_torch(
    options: Adam | AdamW, x: NDArray[np.float64], gradients: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the rows of x after torch.optim along gradients (steps, V, d)."""
    return follow(
        torch.optim.Adam if isinstance(options, Adam) else torch.optim.AdamW,
        x,
        gradients,
        lr=options.lr,
        betas=(options.beta1, options.beta2),
        eps=options.eps,
        weight_decay=options.weight_decay,
    )


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_takes_the_steps_of_torch(
    monkeypatch: pytest.MonkeyPatch, options: Adam | AdamW, library: str
) -> None:
    arrays = (lambda a: a) if library == "numpy" else torch.from_numpy  # the same memory
    for workers, block in [(1, 5), (1, 100), (7, 1), (7, 4), (7, 100)]:
        monkeypatch.setattr(blocks, "BLOCK", block)
        rng = np.random.default_rng(workers)
        x = rng.standard_normal((workers, D))
        gradients = rng.standard_normal((STEPS, workers, D))
        gradients[:, :, 0] = 0  # a dead unit
        expected = by_torch(options, x, gradients)
        state = options.init(arrays(x), LAYERS)
        for gradient in gradients:
            g = gradient + options.l2 * x  # as TrainingWorkers.gradient does
            original = g.copy()
            options.update(arrays(x), arrays(g), state)
            np.testing.assert_array_equal(g, original)
        np.testing.assert_allclose(x, expected, rtol=0, atol=1e-12)  # float64, 20 steps
        assert state.k == STEPS


def test_the_first_step_is_the_rate_and_float32_stays_float32() -> None:
    for options in (Adam(lr=0.25, eps=1e-12), AdamW(lr=0.25, eps=1e-12, weight_decay=0.0)):
        x, g = np.full((2, 9), 2, np.float32), np.full((2, 9), -1e-3, np.float32)
        state = options.init(x, LAYERS)
        options.update(x, g, state)
        np.testing.assert_allclose(x, 2.25, rtol=1e-6)  # float32
        assert x.dtype == state.first.dtype == state.second.dtype == np.float32


@pytest.mark.parametrize("kind", [Adam, AdamW])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.0}, "lr must be > 0 and finite, got 0.0"),
        ({"beta1": 1.0}, "beta1 must be in [0, 1), got 1.0"),
        ({"beta2": float("nan")}, "beta2 must be in [0, 1), got nan"),
        ({"eps": 0.0}, "eps must be > 0 and finite, got 0.0"),
        ({"weight_decay": -1.0}, "weight_decay must be >= 0 and finite, got -1.0"),
    ],
)
def test_refuses(kind: type[Adam] | type[AdamW], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        kind(**options)
    assert str(error.value) == message
