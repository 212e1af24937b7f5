"""Local steps of many workers, a chunk at a time: the bits of a gradient and an update."""

from typing import Any

import numpy as np
import pytest
import torch

from algorithms.exchange.clock import ModelClock
from algorithms.exchange.compute import Compute
from algorithms.wire.meter import DATA, GRADIENT, UPDATE
from bench.optimizers import LAMB, SGD, Adam
from bench.runtime.batches import Batches
from bench.tasks import many_models
from bench.tasks.digits import Digits
from bench.tasks.tracing import trace
from tests.bench.made_workers import make_workers

HEAVY_BALL = SGD(lr=0.2, momentum=0.9, nesterov=True, weight_decay=0.01)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("optimizer", "options", "in_chunks"),
    [
        (SGD(lr=0.3), {}, True),
        (HEAVY_BALL, {"rate": lambda step: 0.1 / (1 + step)}, True),
        (SGD(momentum=0.5), {"accumulate": 2}, False),
        (SGD(weight_decay=0.1), {"clip": 0.5}, False),
        (Adam(), {}, False),
        (LAMB(), {}, False),
    ],
)
def test_a_step_has_the_bits_of_a_gradient_and_an_update(
    monkeypatch: pytest.MonkeyPatch,
    optimizer: Any,
    options: dict[str, Any],
    in_chunks: bool,
    dtype: str,
) -> None:
    monkeypatch.setattr(many_models, "CHUNK", 3)  # four workers: a chunk of three and one of one
    monkeypatch.setattr(many_models, "PIECE", 2000)  # one or two workers, by the parameter
    problem = Digits(hidden=15).load(dtype)
    clocks = [ModelClock(4, Compute("10ms", "lognormal:0.5")) for _ in range(2)]
    one, two = (
        make_workers(problem, optimizer, range(4), dtype, clock=clock, **options)
        for clock in clocks
    )
    for _ in range(4):
        losses = one.step()
        expected = two.gradient()
        two.update()
        assert losses is one.losses
        assert np.array_equal(losses, expected)
        assert np.array_equal(one.x, two.x)
    assert one.drawn == two.drawn == 4
    assert np.array_equal(clocks[0].now(), clocks[1].now())
    assert one.g.any() != in_chunks, "gradients of chunks are not stored"


def test_the_phases_of_a_step_in_chunks_are_timed() -> None:
    workers = make_workers(Digits(hidden=3).load("float32"), SGD(), range(4), "float32")
    meter = workers._meter
    workers.step()
    assert all(meter.ns[phase] > 0 for phase in (DATA, GRADIENT, UPDATE))


def test_a_trace_computes_the_function_and_no_reshape_to_the_same_shape() -> None:
    def function(rows: dict[str, torch.Tensor], y: torch.Tensor) -> list[torch.Tensor]:
        x = rows["x"].expand(2, 3).reshape(3, 2).view(3, 2)
        return [x.transpose(0, 1).transpose(0, 1).relu(), x.transpose(0, 1).transpose(0, 1) * y]

    x, y = torch.randn(1, 3), torch.randn(3, 1)
    traced: Any = trace(function, {"x": x}, y)
    for actual, expected in zip(traced(x, y), function({"x": x}, y), strict=True):
        assert torch.equal(actual, expected)
    assert not [node.name for node in traced.graph.nodes if "transpose" in node.name]


def test_a_trace_leaves_products_open_unless_a_parameter_is_a_factor() -> None:
    def function(rows: dict[str, torch.Tensor], y: torch.Tensor) -> list[torch.Tensor]:
        x = rows["x"]
        return [torch.bmm(x.relu(), y), torch.bmm(y, x[:, :2].transpose(1, 2)), torch.bmm(y, y)]

    x, y = torch.randn(4, 3, 3), torch.randn(4, 3, 3)
    results = trace(function, {"x": x}, y)(x, y)
    assert [isinstance(each, torch.Tensor) for each in results] == [False, True, False]
    for actual, expected in zip(results, function({"x": x}, y), strict=True):
        whole = actual if isinstance(actual, torch.Tensor) else torch.bmm(*actual)
        assert torch.equal(whole, expected)


def test_workers_with_shards_alike_have_the_batches_of_each_on_its_own() -> None:
    """Together they have enough indices for keys by epoch, on their own they have not."""
    shards = list(np.random.default_rng(0).integers(0, 10**6, (90, 100)))
    together = Batches(shards, range(90), 70, seed=2).at(5, 4)
    for i in (0, 41, 89):
        assert np.array_equal(Batches(shards, [i], 70, seed=2).at(5, 4)[:, 0], together[:, i])
