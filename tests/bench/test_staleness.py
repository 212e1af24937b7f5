"""--staleness: stability on quadratics, the gradients of pipelines, continuation, mistakes."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from algorithms.pipelines.pipedream import PipeDream
from bench.common.spec import UserError
from bench.optimizers.sgd import SGD
from bench.runtime.experiment import Experiment
from bench.runtime.options import TABLE
from bench.runtime.staleness import StaleSlices, slices_of
from bench.tasks.mlp import MLP
from bench.tasks.quadratic import Quadratic
from tests.bench.test_pipeline_learner import Training, indices_of

BATCH = 8
"""Samples of a minibatch whose mean is rounded as a sum times its inverse: a power of two."""


def largest(rates: NDArray[np.float64], momentum: float, stages: int, steps: int) -> float:
    """Return the largest of the rates (V,) at which stage 0 converges on x^2 / 2."""
    x = np.ones((len(rates), stages))
    v = np.zeros_like(x)
    stale = StaleSlices(PipeDream(stages, 1), x, [(s, s + 1) for s in range(stages)])
    for _ in range(steps):
        stale.advance()
        v[:] = momentum * v + stale.rows
        x -= rates[:, None] * v
        np.clip(x, -1e100, 1e100, out=x)
    return float(rates[np.abs(x[:, 0]) < 1].max())


@pytest.mark.parametrize("K", range(2, 9))
def test_the_largest_stable_rate_is_that_of_the_delay_of_stage_0(K: int) -> None:
    bound = 2 * np.sin(np.pi / (4 * (K - 1) + 2))
    rates = bound * np.arange(0.9, 1.1, 0.005)
    assert largest(rates, 0, K, 2000) == pytest.approx(bound, rel=0.02)


@pytest.mark.parametrize(("K", "bound"), [(2, 0.1), (3, 0.0512), (4, 0.0348), (8, 0.0158)])
def test_momentum_lowers_the_largest_stable_rate(K: int, bound: float) -> None:
    rates = bound * np.arange(0.9, 1.1, 0.005)
    assert largest(rates, 0.9, K, 4000) == pytest.approx(bound, rel=0.02)


PIPELINES = [
    PipeDream(4, 1),
    PipeDream(8, 1, cut="1/2/3/4/5/6/7"),
    PipeDream(4, 1, versions="vertical"),
    PipeDream(3, 2, versions="two"),
]


@pytest.mark.parametrize("pipeline", PIPELINES, ids=str)
def test_gradients_are_those_of_a_pipeline_also_after_a_pause(pipeline: PipeDream) -> None:
    problem = MLP(depth=7, width=8).load("float64")
    expected = Training(problem, pipeline, momentum=0.9, batch=BATCH)
    expected.run(0, 9)
    x, g = np.array(problem.initial(seed=3))[None].copy(), np.zeros((1, problem.d))
    parts, optimizer = slices_of(pipeline, MLP(), problem), SGD(lr=0.05, momentum=0.9)
    plain, stale = problem.learner(x, g), StaleSlices(pipeline, x, parts)
    state, source = optimizer.init(plain.x, problem.layers), problem.learner(stale.rows, g)
    for t in range(9):
        if t == 5:
            versions, stale = stale.versions(), StaleSlices(pipeline, x, parts)
            stale.restore(t, versions)
            source = problem.learner(stale.rows, g)
        stale.advance()
        source.gradient(source.fetch(indices_of(t, problem, BATCH)[None]))
        optimizer.update(plain.x, plain.g, state)
    if pipeline.microbatches == 1:
        assert (x == expected.x).all()
    np.testing.assert_allclose(x, expected.x, atol=1e-12)  # with two parts, another order


def test_rows_without_layers_are_cut_into_equal_parts() -> None:
    problem = Quadratic().load("float64")
    parts = slices_of(PipeDream(3, 1), Quadratic(), problem)
    assert (parts[0][0], parts[-1][1]) == (0, problem.d)
    assert [hi for _, hi in parts[:-1]] == [lo for lo, _ in parts[1:]]
    with pytest.raises(UserError, match="take at most stages="):
        slices_of(PipeDream(problem.d + 1, 1), Quadratic(), problem)


MISTAKES = [
    ("--staleness=1f1b:stages=4", "take pipedream:stages=4"),
    ("--staleness=pipedream:versions=none", "the gradient of no function"),
    ("--staleness=pipedream:stages=4,microbatches=2", "take microbatches=1, or versions=two"),
    ("--staleness=pipedream:recompute=always", "leave recompute out"),
    ("--staleness=pipedream --pipeline=1f1b --task=mlp", "leave one of them out"),
    ("--staleness=pipedreams", "did you mean pipedream?"),
]


@pytest.mark.parametrize(("options", "message"), MISTAKES)
def test_mistakes_are_refused(options: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Experiment.resolve(TABLE.read(options.split()), 1).check()


def test_staleness_is_part_of_the_hash_and_its_absence_is_not() -> None:
    def params(*options: str) -> dict[str, Any]:
        return Experiment.resolve(TABLE.read(options), 1).params

    assert "staleness" not in params()
    assert params("--staleness=pipedream:stages=4")["staleness"] == "pipedream:stages=4"
