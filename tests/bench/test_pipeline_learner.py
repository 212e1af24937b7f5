"""Gradients by pipelines on one rank: the same bits for every cut, and delays of slices."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import ceil
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from algorithms.pipelines import PIPELINES
from algorithms.pipelines.grid import Grid
from algorithms.pipelines.pipedream import PipeDream
from algorithms.pipelines.protocol import Pipeline
from algorithms.pipelines.zb_h1 import ZeroBubbleH1
from algorithms.wire.meter import PIPELINE_PHASES, Meter
from bench.common.spec import UserError, parse_spec
from bench.optimizers.sgd import SGD
from bench.runtime.pipeline.cell import Cell
from bench.runtime.pipeline.learner import PipelineLearner, steps_ahead
from bench.runtime.pipeline.slices import Slices, stage_bounds
from bench.tasks import TASKS
from bench.tasks.classifier import Classifier
from bench.tasks.own import TorchTask
from bench.tasks.saved import SavedBytes
from bench.tasks.stages import units
from tests.bench.made_data import text_file
from tests.bench.test_own_task import Sine, Spirals
from tests.bench.test_own_task import problem_of as load_own

BATCH, STEPS = 10, 9
FEW = 3
"""Steps after which equal gradients have been equal twice, at other parameters."""
TRANSFORMER = "transformer:width=8,heads=2,context=8"
MLP, CNN = "mlp:depth=7,width=8", "cnn:channels=2,norm=batch"


def load(task: str, dtype: str = "float32", data: str = "") -> Classifier:
    """Return the problem of a task with all training samples."""
    problem = parse_spec(task, TASKS, "task").load(dtype, data)
    assert isinstance(problem, Classifier)
    return problem


class Training:
    """A loop of SGD with one worker whose pipeline is on this rank alone."""

    def __init__(
        self, problem: Classifier, pipeline: Pipeline, *, momentum: float = 0, batch: int = BATCH
    ) -> None:
        self.problem, self.pipeline, self.batch = problem, pipeline, batch
        dtype = problem.initial(0).dtype
        self.x, self.g = np.zeros((2, 1, problem.d), dtype)
        self.x[0] = problem.initial(seed=3)
        slices = Slices(pipeline, Grid(1), problem.units, problem.layers)
        cell = Cell(Grid(1), 0, None, None, slices)  # type: ignore[arg-type]
        meter = Meter(PIPELINE_PHASES)
        self.learner = PipelineLearner(problem, pipeline, cell, self.x, self.g, batch, meter)
        self.optimizer = SGD(lr=0.05, momentum=momentum)
        self.state = self.optimizer.init(self.learner.x, problem.layers)
        self.ahead = steps_ahead(pipeline)
        self.losses: list[float] = []

    def run(self, first: int, stop: int) -> None:
        """Take the steps from `first` to `stop`."""
        for t in range(first, stop):
            indices = indices_of(t, self.problem, self.batch)[None]
            if self.ahead or self.pipeline.asynchronous:
                later = range(t, t + self.ahead + 1)
                indices = np.stack([indices_of(u, self.problem, self.batch)[None] for u in later])
            self.losses.append(float(self.learner.gradient(self.learner.fetch(indices))[0]))
            self.optimizer.update(self.learner.x, self.learner.g, self.state)


def indices_of(step: int, problem: Classifier, batch: int) -> NDArray[np.int64]:
    """Return the samples of a minibatch, (batch,)."""
    return np.random.default_rng(step).integers(0, problem.samples.size, batch)


def trained(problem: Classifier, pipeline: Pipeline, steps: int = STEPS, **options: Any) -> bytes:
    """Return the parameters after some steps, as bytes."""
    training = Training(problem, pipeline, **options)
    training.run(0, steps)
    assert not np.isnan(training.x).any()
    return bytes(training.x.tobytes())


def synchronous(K: int, M: int) -> list[Pipeline]:
    """Return every synchronous pipeline of K stages, and 1F1B with recomputation."""
    result: list[Pipeline] = [
        PIPELINES[name](stages=K, microbatches=M) for name in ("gpipe", "1f1b", "zb_h1")
    ]
    result += [
        PIPELINES["1f1b"](stages=K, microbatches=M, recompute=kind)
        for kind in ("always", "except_last")
    ]
    if K % 2 == 0 and M % (K // 2) == 0:
        result.append(PIPELINES["interleaved"](stages=K, microbatches=M))
    return result


@pytest.mark.parametrize("microbatches", [4, 10])  # 10: one sample, a product with a vector
def test_every_cut_and_order_gives_the_same_bits(microbatches: int) -> None:
    problem = load(MLP)
    results = {
        trained(problem, pipeline, FEW)
        for K in (1, 2, 3, 4, 8)
        for pipeline in synchronous(K, microbatches)
    }
    assert len(results) == 1


@pytest.mark.parametrize("task", [CNN, "digits:norm=batch", TRANSFORMER])
def test_every_layered_task_gives_the_same_bits(task: str, tmp_path: Any) -> None:
    text = text_file(tmp_path, "text", "the quick brown fox jumps over a lazy dog. " * 40)
    problem = load(task, data=text if task == TRANSFORMER else "")
    stages = [K for K in (1, 2, 3, 6) if len(problem.units) >= K]
    results = {trained(problem, pipeline, FEW) for K in stages for pipeline in synchronous(K, 3)}
    assert len(results) == 1


@pytest.mark.parametrize("task", [Spirals(), Sine()])
def test_tasks_of_ones_own_give_the_same_bits(task: TorchTask) -> None:
    problem = load_own(task, "float64")
    results = {trained(problem, pipeline) for K in (1, 2) for pipeline in synchronous(K, 3)}
    assert len(results) == 1
    training = Training(problem, PIPELINES["1f1b"](stages=2, microbatches=3))
    plain = problem.learner(training.x.copy(), np.zeros_like(training.g))
    indices = indices_of(0, problem, BATCH)[None]
    loss = plain.gradient(plain.fetch(indices))
    training.run(0, 1)
    np.testing.assert_allclose(training.losses, loss, rtol=1e-12)
    np.testing.assert_allclose(np.asarray(training.g), np.asarray(plain.g), atol=1e-12)


def test_models_that_are_no_chain_are_refused() -> None:
    class Twice(torch.nn.Module):
        pass

    layer = torch.nn.Linear(2, 2)
    for model, words in (
        (Twice(), "the model is a Twice: make it a torch.nn.Sequential"),
        (torch.nn.Sequential(layer, torch.nn.Tanh(), layer), "two layers of this one share"),
    ):
        with pytest.raises(UserError, match=words):
            units(model)


def test_micro_batches_change_only_the_rounding() -> None:
    problem = load(MLP, "float64")
    one = Training(problem, PIPELINES["gpipe"](stages=2, microbatches=1))
    one.run(0, STEPS)
    whole = problem.learner(one.x.copy(), np.zeros_like(one.g))
    for microbatches in (3, 10):
        many = Training(problem, PIPELINES["1f1b"](stages=4, microbatches=microbatches))
        many.run(0, STEPS)
        np.testing.assert_allclose(many.x, one.x, atol=1e-12)  # another order of additions
        np.testing.assert_allclose(many.losses, one.losses, atol=1e-12)
    indices = indices_of(0, problem, BATCH)[None]
    whole.gradient(whole.fetch(indices))
    one.learner.gradient(one.learner.fetch(indices))
    np.testing.assert_allclose(np.asarray(whole.g), one.g, atol=1e-12)


def delayed(
    problem: Classifier,
    bounds: Sequence[int],
    age: Callable[[int, int, int], int],
    M: int,
    momentum: float,
) -> bytes:
    """Return the parameters after steps with gradients at slices of earlier parameters.

    bounds: elements of the first parameter of each stage, and d. age(t, s, i): updates before the
    parameters of stage s for micro-batch i of step t.
    """
    history = [torch.from_numpy(problem.initial(seed=3))]
    module = problem.build(0)
    optimizer = SGD(lr=0.05, momentum=momentum)
    state: Any = None
    for t in range(STEPS):
        indices = torch.from_numpy(indices_of(t, problem, BATCH))
        inputs, targets = problem.inputs[indices], problem.targets[indices]
        g = None
        for i in range(M):
            part = slice(i * BATCH // M, (i + 1) * BATCH // M)
            slices = [history[age(t, s, i)][lo:hi] for s, (lo, hi) in enumerate(pairwise(bounds))]
            torch.nn.utils.vector_to_parameters(torch.cat(slices), module.parameters())
            loss = cross_entropy(module(inputs[part]), targets[part], reduction="sum")
            gradients = torch.autograd.grad(loss * (1 / BATCH), list(module.parameters()))
            flat = torch.cat([x.flatten() for x in gradients])
            g = flat if g is None else g + flat
        assert g is not None
        x = history[-1].clone()[None]
        state = state or optimizer.init(x, problem.layers)
        optimizer.update(x, g[None], state)
        history.append(x[0])
    return bytes(history[-1].numpy().tobytes())


AGES: dict[str, Callable[[int, int], Callable[[int, int, int], int]]] = {
    "stash": lambda K, M: lambda t, s, i: max(0, t - ceil((K - 1 - s - i) / M)),
    "vertical": lambda K, M: lambda t, s, i: max(0, t - ceil((K - 1 - i) / M)),
    "two": lambda K, M: lambda t, s, i: max(0, t - 1),
}


@pytest.mark.parametrize(("K", "momentum"), [(2, 0.9), (3, 0), (8, 0.9)])
@pytest.mark.parametrize("versions", list(AGES))
def test_pipedream_equals_gradients_at_delayed_slices(
    versions: str, K: int, momentum: float
) -> None:
    problem = load(MLP)
    for M in {1, K - 1}:
        if versions == "two" and M < K - 1:
            continue
        pipeline = PipeDream(K, M, versions=versions)
        slices = Slices(pipeline, Grid(1), problem.units, problem.layers)
        sizes = [sum(problem.units[:unit]) for unit in slices.bounds]
        expected = delayed(problem, sizes, AGES[versions](K, M), M, momentum)
        assert trained(problem, pipeline, momentum=momentum) == expected


def test_missing_versions_are_noticed() -> None:
    problem = load(MLP)
    results = {trained(problem, PipeDream(3, versions=v)) for v in ("stash", "vertical", "none")}
    assert len(results) == 3
    results = {trained(problem, PipeDream(1, versions=v)) for v in ("stash", "vertical", "none")}
    assert len(results) == 1


@pytest.mark.parametrize("versions", list(AGES))
@pytest.mark.parametrize("microbatches", [3, 5])
def test_a_run_continues_from_its_versions_with_the_same_bits(
    versions: str, microbatches: int
) -> None:
    problem = load(MLP)
    pipeline = PipeDream(4, microbatches, versions=versions)
    expected = Training(problem, pipeline)
    expected.run(0, STEPS)
    before, first = Training(problem, pipeline), 0
    for stop in (0, 1, 5):
        after = Training(problem, pipeline)
        before.run(first, stop)
        first = stop
        after.x[:] = before.x
        after.learner.restore(stop, before.learner.versions())
        after.run(stop, STEPS)
        assert (after.x == expected.x).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"stages": 9}, "9 stages are more than the 8 units"),
        ({"stages": 3, "cut": "2"}, "give stages=2"),
        ({"stages": 2, "cut": "8"}, "must ascend within the units 1 to 7"),
        ({"stages": 3, "cut": "5/2"}, "must ascend"),
        ({"stages": 2, "cut": "a"}, "cut must be numbers of units, as 3/7/9, got 'a'"),
    ],
)
def test_cuts_that_do_not_fit_the_model_are_refused(options: Any, words: str) -> None:
    problem = load(MLP)
    with pytest.raises(UserError, match=words):
        Slices(PIPELINES["gpipe"](**options), Grid(1), problem.units, problem.layers)


PLAYED = [
    *(each for K in (1, 3, 4) for each in synchronous(K, 8)),
    PIPELINES["zb_h1"](stages=4, microbatches=8, recompute="always"),
    PipeDream(4, 1),
    PipeDream(3, 4, versions="vertical"),
]


@pytest.mark.parametrize("pipeline", PLAYED, ids=str)
def test_saved_bytes_equal_passes_in_flight_times_a_micro_batch(pipeline: Pipeline) -> None:
    problem = load(MLP)
    training = Training(problem, pipeline, batch=16)
    training.learner.measure_memory()
    training.run(0, 1)
    memory = training.learner.memory
    assert memory is not None
    assert memory.saved_bytes == memory.saved_bytes_formula > 0
    model = problem.split_model(training.x, training.g, stage_bounds(pipeline, problem.units),
                                range(pipeline.stages))  # fmt: skip
    b = 16 // pipeline.microbatches
    for s in range(pipeline.stages):  # each stage on a rank of its own
        if pipeline.positions < pipeline.stages or pipeline.recompute != "never":
            continue
        passes, saved = model.stage(0, s, 0, split=isinstance(pipeline, ZeroBubbleH1)), SavedBytes()
        passes.count(saved, s)
        last = s == pipeline.stages - 1
        for kind, _, m in pipeline.actions(s, 9):
            if kind == "forward":
                shape = model.shape(s - 1) if s else (problem.inputs.shape[1],)
                y = np.zeros(b, np.int64) if last else None
                passes.forward(m, 0, np.ones((b, *shape), np.float32), y, 1 / 16, keep=True)
                continue
            outward = None if last else np.ones((b, *model.shape(s)), np.float32)
            if kind == "backward":
                passes.backward(m, outward, m == 0)
            elif kind == "input":
                passes.input(m, outward)
            else:
                passes.weight(m, m == 0)
        assert saved.peak == pipeline.in_flight(s) * saved.activations[s] > 0
        assert saved.current == 0, "freed with the graphs"


@pytest.mark.parametrize("versions", ["stash", "vertical", "two"])
def test_as_many_versions_are_in_memory_as_the_formula_says(versions: str) -> None:
    pipeline = PipeDream(4, 3 if versions == "two" else 1, versions=versions)
    training = Training(load(MLP), pipeline)
    training.run(0, STEPS)
    for s in range(pipeline.stages):
        rows = np.zeros((8, training.learner._model.size(s)), np.float32)
        slots = training.learner._slots[s] or 1
        if training.learner._slots[s]:
            for slot in range(slots):
                training.learner._passes[0][s].save(slot, rows[slot])
            assert len({row.tobytes() for row in rows[:slots]}) == pipeline.weights(s)
        assert slots == pipeline.weights(s)
