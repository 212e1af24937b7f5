"""LARS, LARC and LAMB against their formulas, a row and a layer at a time."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from algorithms.protocol import Layer, consecutive_layers
from bench.optimizers import LAMB, LARC, LARS, blocks

Array: TypeAlias = NDArray[np.float64]
LAYERS = consecutive_layers([(3, 4), (4,), (2, 2, 2), (1, 3), (1,)])
D = LAYERS[-1].stop
STEPS = 20
norm = np.linalg.norm


def by_lars(options: LARS, w: Array, gradients: Array, wide: bool) -> Array:
    """Return one layer after steps of You et al. 2017, or of the scaled form."""
    v, decay = np.zeros_like(w), options.weight_decay * wide
    for g in gradients:
        local = options.trust * norm(w) / (norm(g) + decay * norm(w)) if wide else 1.0
        rate = options.lr * local
        if options.form == "unscaled":
            v = options.momentum * v + rate * (g + decay * w)
            w = w - v
        else:
            v = options.momentum * v + g + decay * w
            w = w - rate * v
    return w


def by_larc(options: LARC, w: Array, gradients: Array, wide: bool) -> Array:
    """Return one layer after steps of Kurth et al. 2018."""
    v, decay = np.zeros_like(w), options.weight_decay * wide
    for g in gradients:
        rate = options.lr
        if wide:
            local = options.trust * norm(w) / (norm(g) + decay * norm(w))
            rate = float(np.minimum(local, options.lr) if options.clip else local * options.lr)
        v = options.momentum * v + rate * (g + decay * w)
        w = w - v
    return w


def by_lamb(options: LAMB, w: Array, gradients: Array, wide: bool) -> Array:
    """Return one layer after steps of You et al. 2020."""
    m, v = np.zeros_like(w), np.zeros_like(w)
    for k, g in enumerate(gradients, start=1):
        m = options.beta1 * m + (1 - options.beta1) * g
        v = options.beta2 * v + (1 - options.beta2) * g**2
        u = (m / (1 - options.beta1**k)) / (np.sqrt(v / (1 - options.beta2**k)) + options.eps)
        if wide:
            u = u + options.weight_decay * w
            u = norm(w) / norm(u) * u
        w = w - options.lr * u
    return w


REFERENCES: list[tuple[Any, Callable[..., Array]]] = [
    (LARS(lr=0.5, trust=0.1, weight_decay=0.2), by_lars),
    (LARS(lr=0.5, trust=0.05, weight_decay=0.2, form="scaled"), by_lars),
    (LARS(lr=0.5, trust=0.1, momentum=0.0), by_lars),
    (LARC(lr=0.07, trust=0.1, weight_decay=0.2), by_larc),  # some layers are clipped, some not
    (LARC(lr=0.5, trust=0.1, weight_decay=0.2, clip=False), by_larc),
    (LAMB(lr=0.1, weight_decay=0.2), by_lamb),
]


def run_steps(options: Any, x: Array, gradients: Array, layers: list[Layer]) -> Any:
    """Return x, (V, d), after steps of the optimiser along (steps, V, d)."""
    x = x.copy()
    state = options.init(x, layers)
    for g in gradients:
        options.update(x, g, state)
    return x


@pytest.mark.parametrize(
    ("options", "reference"), REFERENCES, ids=[str(options) for options, _ in REFERENCES]
)
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_takes_the_steps_of_the_formula(
    monkeypatch: pytest.MonkeyPatch, options: Any, reference: Callable[..., Array], library: str
) -> None:
    arrays = (lambda a: a) if library == "numpy" else torch.from_numpy  # the same memory
    for workers, block in [(1, 1), (1, 100), (7, 5), (7, 24), (7, 1000)]:
        monkeypatch.setattr(blocks, "BLOCK", block)
        rng = np.random.default_rng(workers)
        x = rng.standard_normal((workers, D))
        gradients = rng.standard_normal((STEPS, workers, D))
        gradients *= np.geomspace(0.1, 10, workers)[
            :, None
        ]  # rows must not depend on each other's norm
        start = x.copy()
        state = options.init(arrays(x), LAYERS)
        for g in gradients:
            original = g.copy()
            options.update(arrays(x), arrays(g), state)
            np.testing.assert_array_equal(g, original)
        for i in range(workers):
            for layer in LAYERS:
                here = slice(layer.start, layer.stop)
                wide = len(layer.shape) > 1
                expected = reference(options, start[i, here], gradients[:, i, here], wide)
                np.testing.assert_allclose(  # float64, 20 steps; some rows grow
                    x[i, here], expected, rtol=1e-11, atol=1e-12, err_msg=f"{i} {layer}"
                )


def test_a_rescaled_gradient_is_the_same_step() -> None:
    """For layers with their own rate; the eps of LAMB is small against the smallest gradient."""
    layers = consecutive_layers([(3, 4), (2, 2)])
    rng = np.random.default_rng(0)
    x, gradients = rng.standard_normal((3, 16)), rng.standard_normal((STEPS, 3, 16))
    for options in (
        LARS(weight_decay=0.0),
        LARS(weight_decay=0.0, form="scaled", trust=0.001),
        LARC(clip=False),
        LAMB(weight_decay=0.0, eps=1e-30),
    ):
        ends = [run_steps(options, x, gradients * scale, layers) for scale in (1.0, 1e-4, 1e4)]
        assert np.abs(ends[0] - x).max() > 1e-3, "it must have moved"
        for end in ends[1:]:
            np.testing.assert_allclose(end, ends[0], rtol=1e-11)  # float64, 20 steps
    sized = [run_steps(LARC(), x, gradients * scale, layers) for scale in (1.0, 1e-4)]
    assert np.abs(sized[0] - sized[1]).max() > 1e-3, (
        "clipped at lr, a small gradient is a small step"
    )


def test_larc_equals_sgd_if_the_global_rate_is_smaller() -> None:
    layers = consecutive_layers([(3, 4)])
    rng = np.random.default_rng(1)
    x, gradients = rng.standard_normal((2, 12)), rng.standard_normal((STEPS, 2, 12))
    clipped = run_steps(LARC(lr=0.001, trust=1.0), x, gradients, layers)
    v, plain = np.zeros_like(x), x.copy()
    for g in gradients:
        v = 0.9 * v + 0.001 * g
        plain -= v
    np.testing.assert_allclose(clipped, plain, rtol=1e-12)  # float64
    freed = run_steps(LARC(lr=1e3, trust=1e-3), x, gradients, layers)
    adapted = run_steps(LARS(lr=1.0, trust=1e-3), x, gradients, layers)
    np.testing.assert_allclose(freed, adapted, rtol=1e-12)  # the local rate is the smaller one


def test_a_layer_of_zeros_takes_the_global_rate() -> None:
    layers = consecutive_layers([(2, 2)])
    x, g = np.zeros((3, 4)), np.random.default_rng(2).standard_normal((1, 3, 4))
    for lr in (0.3, 2.0):
        for options in (LARS(lr=lr), LARC(lr=lr), LARC(lr=lr, clip=False)):
            np.testing.assert_array_equal(run_steps(options, x, g, layers), -lr * g[0])
        first = run_steps(LAMB(lr=lr, eps=1e-12), x, g, layers)
        np.testing.assert_allclose(first, -lr * np.sign(g[0]), rtol=1e-9)  # eps against |g| > 1e-3


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_zero_weights_and_zero_gradients_give_finite_steps(library: str, dtype: str) -> None:
    arrays = (lambda a: a) if library == "numpy" else torch.from_numpy
    layers = consecutive_layers([(2, 2), (2, 2), (2,)])
    for options in [options for options, _ in REFERENCES] + [LARS(), LARC(), LAMB()]:
        x, g = np.ones((3, 10), dtype), np.ones((3, 10), dtype)
        x[0], g[1], g[2] = 0, 0, 1e-30  # squares of the last are 0 in float32
        state = options.init(arrays(x), layers)
        with np.errstate(divide="raise", invalid="raise", over="raise"):
            for _ in range(3):
                options.update(arrays(x), arrays(g), state)
        assert np.isfinite(x).all(), options
        assert (x[0] != 0).all(), "a layer of zeros must be able to leave"
        assert x.dtype == np.dtype(dtype)
        if not options.weight_decay:
            np.testing.assert_array_equal(x[1], 1)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (LARS, {"lr": -1.0}, "lr must be > 0 and finite, got -1.0"),
        (LARS, {"momentum": 1.0}, "momentum must be in [0, 1), got 1.0"),
        (LARS, {"form": "half"}, "form must be one of unscaled, scaled, got 'half'"),
        (
            LARS,
            {"form": "scaled", "momentum": 0.0},
            "form=scaled needs momentum > 0, e.g. momentum=0.9",
        ),
        (LARS, {"trust": 0.0}, "trust must be > 0 and finite, got 0.0"),
        (LARS, {"weight_decay": -1.0}, "weight_decay must be >= 0 and finite, got -1.0"),
        (LARC, {"lr": 0.0}, "lr must be > 0 and finite, got 0.0"),
        (LARC, {"momentum": -0.1}, "momentum must be in [0, 1), got -0.1"),
        (LARC, {"trust": float("inf")}, "trust must be > 0 and finite, got inf"),
        (LARC, {"weight_decay": -1.0}, "weight_decay must be >= 0 and finite, got -1.0"),
        (LAMB, {"beta1": 1.0}, "beta1 must be in [0, 1), got 1.0"),
    ],
)
def test_refuses(kind: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        kind(**options)
    assert str(error.value) == message
