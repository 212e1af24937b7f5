"""Synthetic samples: functions of their number, with the documented difficulty."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import kstest, norm

from bench.tasks.synthetic import BLOCK, Synthetic
from tests.bench.made_samples import gradient, starts

TASK = Synthetic(samples=300, features=5, classes=7)
EVERYTHING = TASK.table(0, 500, "float64").rows(np.arange(500))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 400),
    st.lists(st.integers(0, 99), max_size=40),
    st.sampled_from(["float32", "float64"]),
)
def test_a_sample_does_not_depend_on_the_other_indices(
    first: int, indices: list[int], dtype: str
) -> None:
    table = TASK.table(first, 100, dtype)
    chosen = np.array(indices, np.int64)
    rows = table.rows(chosen)
    assert rows.dtype == np.dtype(dtype)
    tolerance = 0 if dtype == "float64" else 1e-6  # the same numbers, rounded
    np.testing.assert_allclose(rows, EVERYTHING[first + chosen], rtol=0, atol=tolerance)
    np.testing.assert_array_equal(table.labels, np.arange(first, first + 100) % 7)


def test_held_out_samples_have_the_next_numbers() -> None:
    problem = TASK.load("float64")
    inputs, targets = problem._held_out
    np.testing.assert_array_equal(problem.features(), EVERYTHING[:300])
    np.testing.assert_array_equal(inputs.numpy(), TASK.table(300, 300, "float64").rows(np.r_[:300]))
    np.testing.assert_array_equal(targets.numpy(), np.arange(300, 600) % 7)
    assert set(np.bincount(problem.samples.labels).tolist()) == {42, 43}


def test_noise_is_standard_normal_and_never_the_same() -> None:
    task = Synthetic(samples=40 * BLOCK, features=8)
    labels = np.arange(task.samples) % 10
    result = task.table(0, task.samples, "float64").rows(np.arange(task.samples))
    noise = (result - task.centres()[labels]).ravel()
    # A wrong distribution of 80,000 numbers has a p below any bound; the data never change.
    assert kstest(noise, "norm").pvalue > 0.01
    assert len(np.unique(noise.round(12))) > noise.size - 10  # blocks do not repeat each other
    np.testing.assert_allclose(np.linalg.norm(task.centres(), axis=1), task.separation)


@pytest.mark.parametrize("separation", [0.0, 2.0, Synthetic.separation])
def test_the_nearest_centre_has_the_documented_accuracy(separation: float) -> None:
    task = Synthetic(separation=separation)
    table = task.table(0, 20_000, "float32")
    centres = task.centres()
    apart = (centres**2).sum(1) - 2 * table.rows(np.arange(20_000)) @ centres.T
    hits = np.mean(apart.argmin(1) == table.labels)
    stated = quad(lambda z: norm.pdf(z) * norm.cdf(z + separation) ** 9, -9, 9)[0]
    assert abs(hits - stated) < 0.02  # centres are nearly orthogonal only


def test_only_features_of_the_own_workers_are_computed() -> None:
    task = Synthetic(samples=1_000_000)
    tracemalloc.start()
    problem = task.load("float32")
    shards = [np.arange(0, 1_000_000, 5000), np.arange(1, 1_000_000, 5000)]
    places = problem.hold(range(2), shards)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**26  # all features take 256 MB; labels 8 MB, 16 while they are computed
    assert problem.samples.features is None
    assert problem.inputs.shape == (400, 64)
    for shard, at in zip(shards, places, strict=True):
        np.testing.assert_array_equal(
            problem.inputs.numpy()[at], task.table(0, 1_000_000, "float32").rows(shard)
        )


def test_steps_down_the_gradient_come_near_the_best_accuracy() -> None:
    task = Synthetic(samples=2000, features=32, depth=0)
    problem = task.load("float32")
    x = starts(problem, 1)
    for _ in range(60):
        x -= gradient(problem, x, np.arange(2000)[None])[1]
    best = quad(lambda z: norm.pdf(z) * norm.cdf(z + task.separation) ** 9, -9, 9)[0]
    assert best - 0.06 < problem.evaluate(x)[1][0] < best + 0.02  # 2,000 samples: 330 parameters


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "samples must be >= 1, got 0"),
        ({"features": 0}, "features must be >= 1, got 0"),
        ({"classes": -2}, "classes must be >= 1, got -2"),
        ({"samples": 5}, "samples must be at least the number of classes, 10, got 5"),
        ({"separation": -1.0}, "separation must be finite and >= 0, got -1.0"),
        ({"separation": float("inf")}, "separation must be finite and >= 0, got inf"),
        ({"separation": float("nan")}, "separation must be finite and >= 0, got nan"),
        (
            {"parameters": 10, "width": 3},
            "parameters=10 sets the width: leave width=3 out",
        ),
    ],
)
def test_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        Synthetic(**options)
    assert str(error.value) == message
