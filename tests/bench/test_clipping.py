"""Clipping of gradients: torch as a reference, placement, streamed gradients, refused values."""

import itertools

import numpy as np
import pytest
import torch

from algorithms.protocol import consecutive_layers
from bench.common.spec import UserError
from bench.optimizers import SGD
from bench.runtime.clipping import BLOCK, clip, clip_parts, norm, squares
from bench.runtime.workers import TrainingWorkers
from bench.tasks.digits import Digits
from tests.bench.made_workers import experiment, make_workers

PROBLEM = Digits().load("float32")
LIMIT = 0.7


def workers(
    ids: range,
    limit: float | None,
    optimizer: SGD = SGD(weight_decay=0.1),  # noqa: B008
) -> TrainingWorkers:
    return make_workers(PROBLEM, optimizer, ids, "float32", clip=limit)


@pytest.mark.parametrize("length", [1, 15, 2 * BLOCK + 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_are_clipped_as_by_torch(length: int, dtype: str) -> None:
    rows = np.random.default_rng(0).standard_normal((3, length)).astype(dtype)
    rows[1] *= 1e-3 / norm(rows[1])  # below the limit: unchanged
    expected = [torch.nn.Parameter(torch.zeros(length)) for _ in rows]
    for parameter, row in zip(expected, rows, strict=True):
        parameter.data = parameter.data.to(getattr(torch, dtype))
        parameter.grad = torch.from_numpy(row.copy())
        torch.nn.utils.clip_grad_norm_(parameter, LIMIT)
    before = rows.copy()
    clip(rows, LIMIT)
    np.testing.assert_array_equal(rows[1], before[1])
    for row, parameter in zip(rows, expected, strict=True):
        assert parameter.grad is not None
        np.testing.assert_allclose(row, parameter.grad, rtol=1e-5)  # torch adds 1e-6 to the norm


def test_rows_in_parts_are_clipped_alike_for_every_cut() -> None:
    layers = consecutive_layers([(7, 3), (BLOCK + 5,), (1,), (40,)])
    whole = np.random.default_rng(0).standard_normal((2, layers[-1].stop), np.float32)
    results = []
    for cut in (0, 1, 2, 3, 4):
        parts = [layers[:cut], layers[cut:]]
        sums = [[[x for each in p for x in squares(row[each.start : each.stop])] for row in whole]
                for p in parts]  # fmt: skip
        rows = whole.copy()
        clip_parts(rows, [], LIMIT, lambda own, sums=sums: sums)  # type: ignore[misc]
        results.append(rows.tobytes())
    assert len(set(results)) == 1
    alone = whole.copy()
    clip_parts(alone, layers, LIMIT, lambda own: [own])
    assert alone.tobytes() == results[0]
    clip(whole, LIMIT)
    np.testing.assert_allclose(alone, whole, rtol=1e-6)


def test_rows_with_nan_keep_their_values() -> None:
    rows = np.array([[np.nan, 10.0], [30.0, 40.0]])
    clip(rows, 5)
    np.testing.assert_array_equal(rows, [[np.nan, 10.0], [3.0, 4.0]])


def test_gradients_of_workers_are_clipped_before_the_decay_and_alike_on_any_placement() -> None:
    plain, together = workers(range(4), None, SGD()), workers(range(4), LIMIT)
    alone = [workers(range(i, i + 1), LIMIT) for i in range(4)]
    for some in (plain, together, *alone):
        some.gradient()
    expected = plain.g.copy()
    assert all(norm(row) > LIMIT for row in expected)
    clip(expected, LIMIT)
    np.testing.assert_allclose(together.g, expected + 0.1 * plain.x, rtol=1e-6, atol=1e-7)
    rows = np.concatenate([x.g for x in alone])
    for a, b in itertools.product(range(4), range(4)):
        assert np.array_equal(together.g[a], rows[b]) == (a == b)


def test_a_streamed_gradient_arrives_clipped_in_one_part() -> None:
    whole, streamed = workers(range(2), LIMIT), workers(range(2), LIMIT)
    whole.gradient()
    parts = []
    streamed.gradient(lambda lo, hi: parts.append((lo, hi, streamed.g.copy())))
    ((lo, hi, g),) = parts
    assert (lo, hi) == (0, PROBLEM.d)
    np.testing.assert_array_equal(g, whole.g)


def test_params_and_hash_change_only_if_gradients_are_clipped() -> None:
    plain, clipped = experiment(), experiment(clip=1.5)
    assert clipped.params == {**plain.params, "clip": 1.5}
    assert plain.hash != clipped.hash


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clip": 0}, "--clip must be > 0 and finite, got 0: leave it out for no clipping"),
        ({"clip": "nan"}, "--clip must be > 0 and finite, got nan"),
    ],
)
def test_wrong_limits_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        experiment(**options).check()
