"""Parts of the gradient in the order of completion, and the positions of layers."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from algorithms.protocol import Layer, consecutive_layers
from algorithms.wire.meter import DATA, GRADIENT, OTHER, WAIT, Meter
from bench.optimizers import LARS, SGD, AdamW, Optimizer
from bench.runtime.batches import Batches
from bench.runtime.workers import TrainingWorkers
from bench.tasks.digits import Digits
from bench.tasks.learners import FinishedParts
from bench.tasks.protocol import Problem, Task
from bench.tasks.quadratic import Quadratic

HIDDEN = 11
WIDTHS = [64 * HIDDEN, HIDDEN, HIDDEN * 10, 10]
NORMED_WIDTHS = [64 * HIDDEN, HIDDEN, HIDDEN, HIDDEN * 10, 10]
Parts: TypeAlias = list[tuple[int, int]]
PLAIN, NORMED = Digits(HIDDEN), Digits(HIDDEN, norm="batch")


class Loud(Meter):
    """Meter that records the phases that were closed."""

    __slots__ = ("laps",)

    def __init__(self) -> None:
        super().__init__()
        self.laps: list[int] = []

    def lap(self, phase: int, arrived: Sequence[tuple[int, Any]] = ()) -> None:
        super().lap(phase, arrived)
        self.laps.append(phase)


def in_order(parts: Parts, d: int, several: bool = True) -> bool:
    """Return True if the parts lead from d down to 0 without a gap, in one step or several."""
    ends = [d, *(lo for lo, _ in parts)]
    gapless = [hi for _, hi in parts] == ends[:-1] and ends[-1] == 0
    return gapless and all(lo < hi for lo, hi in parts) and (len(parts) > 1) is several


def gradients(
    problem: Problem, workers: int, calls: Callable[[NDArray[np.floating]], Any] | None = None
) -> tuple[NDArray[np.floating], NDArray[np.floating], Parts]:
    """Return g, losses and the reported parts; calls(g) is called before each report."""
    x = np.stack([problem.initial(seed) for seed in range(workers)])
    g = np.full_like(x, np.nan)
    learner = problem.learner(x, g)
    indices = np.random.default_rng(0).integers(0, 1000, (workers, 6))
    parts: Parts = []

    def ready(lo: int, hi: int) -> None:
        assert calls is not None
        calls(g)
        parts.append((lo, hi))

    original = x.copy()
    losses = learner.gradient(learner.fetch(indices), ready if calls else None)
    np.testing.assert_array_equal(x, original)
    return g, losses, parts


def test_layers_have_the_positions_of_the_parameters() -> None:
    assert consecutive_layers([(2, 3), (), (4,)]) == [
        Layer(0, 6, (2, 3)),
        Layer(6, 7, ()),
        Layer(7, 11, (4,)),
    ]
    for task, widths in ((PLAIN, WIDTHS), (NORMED, NORMED_WIDTHS)):
        problem = task.load("float32")
        assert [layer.stop - layer.start for layer in problem.layers] == widths
        assert in_order([(layer.start, layer.stop) for layer in problem.layers[::-1]], problem.d)
        assert problem.d == sum(widths)
        module = problem.build(3)
        row = problem.initial(3)
        for layer, tensor in zip(problem.layers, module.parameters(), strict=True):
            piece = row[layer.start : layer.stop].reshape(layer.shape)
            np.testing.assert_array_equal(piece, tensor.detach().numpy())
    assert Quadratic(dimension=7).load("float64").layers == [Layer(0, 7, (7,))]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("task", "workers", "several"),
    [
        (PLAIN, 1, True),
        (PLAIN, 3, False),
        (NORMED, 1, True),
        (NORMED, 3, True),
        (Quadratic(dimension=7), 3, False),
    ],
    ids=str,
)
def test_parts_are_final_when_reported_and_bits_are_unchanged(
    task: Task, workers: int, several: bool, dtype: str
) -> None:
    problem = task.load(dtype)
    snapshots: list[NDArray[np.floating]] = []
    g, losses, parts = gradients(problem, workers, lambda g: snapshots.append(g.copy()))
    assert in_order(parts, problem.d, several)
    for (lo, hi), then in zip(parts, snapshots, strict=True):
        np.testing.assert_array_equal(then[:, lo:hi], g[:, lo:hi])
        assert np.isnan(then[:, :lo]).all(), "the rest of the backward pass is still to come"
    plain, plain_losses, _ = gradients(problem, workers)
    assert g.tobytes() == plain.tobytes()
    assert losses.tobytes() == plain_losses.tobytes()


def test_a_part_may_be_changed_at_once_without_effect_on_the_rest() -> None:
    problem = PLAIN.load("float64")
    plain, _, _ = gradients(problem, 1)

    def double(g: NDArray[np.floating]) -> None:
        g[~np.isnan(g)] *= 2  # doubles the finished parts

    g, _, parts = gradients(problem, 1, double)
    for times, (lo, hi) in zip(range(len(parts), 0, -1), parts, strict=True):
        np.testing.assert_array_equal(g[:, lo:hi], 2**times * plain[:, lo:hi])


def test_the_end_of_the_row_is_reported_first_in_any_order_of_completion() -> None:
    layers = consecutive_layers([(1,), (2,), (3,)])
    values, g = torch.arange(1.0, 7.0), torch.zeros(1, 6)
    spans = [slice(layer.start, layer.stop) for layer in layers]
    parameters = [values[span].clone().requires_grad_() for span in spans]
    finished = FinishedParts(parameters, [g[0, span] for span in spans], layers)
    first, second, third = parameters
    calls: Parts = []
    for _ in range(
        2
    ):  # the middle one is used last, so its gradient is ready first; then the first
        loss = (torch.exp(third.sum() * 0.1) * first).sum() * second.sum()
        finished.fill(loss, lambda lo, hi: calls.append((lo, hi)))
    expected = torch.autograd.grad(
        (torch.exp(third.sum() * 0.1) * first).sum() * second.sum(), parameters
    )
    assert calls == [(0, 6)] * 2, "the third one held up the others"
    assert torch.equal(g[0], torch.cat(expected))


def test_an_error_of_the_callback_reaches_the_caller() -> None:
    problem = PLAIN.load("float32")
    x = problem.initial(0)[None].copy()
    g = np.zeros_like(x)
    learner = problem.learner(x, g)
    batch = learner.fetch(np.arange(4)[None])

    def refuse(lo: int, hi: int) -> None:
        raise RuntimeError("no room")

    with pytest.raises(RuntimeError, match="no room"):
        learner.gradient(batch, refuse)
    calls: Parts = []
    learner.gradient(batch, lambda lo, hi: calls.append((lo, hi)))
    assert in_order(calls, problem.d)


@pytest.mark.parametrize(
    "optimizer",
    [SGD(weight_decay=0.5), AdamW(weight_decay=0.5), LARS(weight_decay=0.5)],
    ids=str,
)
@pytest.mark.parametrize("total", [1, 3])
def test_a_reported_part_includes_the_decay(optimizer: Optimizer, total: int) -> None:
    problem = PLAIN.load("float32")
    shards = [np.arange(i, 100, total) for i in range(total)]

    def workers() -> tuple[TrainingWorkers, Loud]:
        meter = Loud()
        x, g = (np.zeros((total, problem.d), np.float32) for _ in range(2))
        samples = np.array([len(shard) for shard in shards])
        result = TrainingWorkers(
            problem,
            optimizer,
            lambda _: Batches(shards, range(total), 8, seed=0),
            x,
            g,
            ids=range(total),
            samples=samples,
            seed=0,
            meter=meter,
        )
        return result, meter

    plain, _ = workers()
    plain.gradient()
    assert plain.layers == problem.layers
    ours, meter = workers()
    snapshots: list[tuple[int, int, NDArray[np.floating]]] = []

    def ready(lo: int, hi: int) -> None:
        snapshots.append((lo, hi, ours.g[:, lo:hi].copy()))
        meter.lap(WAIT)

    ours.gradient(ready)
    assert in_order([(lo, hi) for lo, hi, _ in snapshots], problem.d, several=total == 1)
    for lo, hi, then in snapshots:
        assert then.tobytes() == np.ascontiguousarray(plain.g[:, lo:hi]).tobytes()
    assert ours.g.tobytes() == plain.g.tobytes()
    assert meter.laps == [OTHER, DATA, *[GRADIENT, WAIT] * len(snapshots), GRADIENT]
    x, g = ours.x.copy(), np.full_like(ours.x, np.nan)
    learner = problem.learner(x, g)
    batch = learner.fetch(Batches(shards, range(total), 8, seed=0).next())
    learner.gradient(batch)
    decayed = g + np.float32(0.5) * x if isinstance(optimizer, SGD) else g
    np.testing.assert_array_equal(ours.g, decayed)
