"""Batch norm over groups of workers against torch's own over the concatenated minibatch."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from mpi4py import MPI
from numpy.typing import NDArray
from torch.nn.functional import batch_norm, cross_entropy

from algorithms.allreduce_sgd import AllReduceSGD
from algorithms.exchange.mpi import MPIExchange
from bench.common.spec import UserError
from bench.data.opening import DIGITS_TRAINING as TRAINING
from bench.optimizers import SGD
from bench.runtime.experiment import Experiment
from bench.runtime.options import TrainOptions
from bench.runtime.workers import TrainingWorkers
from bench.tasks.batchnorm import EPS, normalise
from bench.tasks.classifier import Classifier
from bench.tasks.digits import Digits
from tests.helpers import Array, FixedBatches, all_rows, everywhere

HIDDEN = 9
FEATURES = 4


TOTALS = (5, 6, 7)


@cache
def perceptron(group: int) -> Classifier:
    """Load the task in float64, once for all tests."""
    return Digits(HIDDEN, norm="batch", group=group).load("float64")


def groups_of(total: int, group: int) -> list[range]:
    """Return the workers of each group."""
    size = max(1, group)
    return [range(first, min(first + size, total)) for first in range(0, total, size)]


def by_torch(
    xs: list[torch.Tensor], rs: list[torch.Tensor], group: int
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Compute output and gradient of every worker's activations, (n, f), by BatchNorm1d."""
    results = []
    for members in groups_of(len(xs), group):
        norm = torch.nn.BatchNorm1d(FEATURES, affine=False).double().train()
        x = torch.cat([xs[i] for i in members]).requires_grad_()
        y = norm(x)
        y.backward(torch.cat([rs[i] for i in members]))
        sizes = [len(xs[i]) for i in members]
        assert x.grad is not None
        pairs = zip(torch.split(y.detach(), sizes), torch.split(x.grad, sizes), strict=True)
        results += list(pairs)
    return results


def close(a: Any, b: Any) -> bool:
    return np.allclose(a, b, rtol=0, atol=1e-12)  # float64, sums of some dozens of samples


@pytest.mark.mpi
def test_forward_and_backward_are_those_of_the_whole_group(comm: MPI.Intracomm) -> None:
    for total in TOTALS:
        forward_and_backward(comm, total)


def forward_and_backward(comm: MPI.Intracomm, total: int) -> None:
    """Unequal minibatches: padded ones under a mask, then ranks that differ in size."""
    rng = np.random.default_rng(total)
    exchange = MPIExchange(comm, total, dtype="float64")
    ids = exchange.ids
    padded, by_rank = rng.integers(2, 9, total), np.empty(total, np.int64)
    for rank, (lo, hi) in enumerate(map(exchange.placement.span, range(comm.size))):
        by_rank[lo:hi] = 3 + 2 * rank
    for counts, masked in ((padded, True), (by_rank, False)):
        xs = [torch.from_numpy(rng.standard_normal((n, FEATURES)) * 3 + 2) for n in counts]
        rs = [torch.from_numpy(rng.standard_normal((n, FEATURES))) for n in counts]
        longest = int(counts.max()) if masked else int(counts[ids[0]])
        x, r = (torch.full((len(ids), longest, FEATURES), 7.0).double() for _ in range(2))
        mask = torch.zeros(len(ids), longest, 1).double() if masked else None
        for row, i in enumerate(ids):
            x[row, : counts[i]], r[row, : counts[i]] = xs[i], rs[i]
            if mask is not None:
                mask[row, : counts[i]] = 1
        x.requires_grad_()
        for group in (0, 2, 3, total):

            def mean(rows: NDArray[np.floating], group: int = group) -> None:
                if group:
                    exchange.mean(rows, group=group)

            y = normalise(x, mean, mask)
            (gradient,) = torch.autograd.grad(y, x, r)
            expected, fine = by_torch(xs, rs, group), True
            for row, i in enumerate(ids):
                n = counts[i]
                fine &= close(y[row, :n].detach(), expected[i][0])
                fine &= close(gradient[row, :n], expected[i][1])
                fine &= not y[row, n:].any() and not gradient[row, n:].any()
            everywhere(comm, fine, total, group, masked)
    exchange.close()


def reference(
    problem: Any, x: Array, indices: NDArray[np.int64], group: int
) -> tuple[Array, Array]:
    """Compute losses (W,) and gradients (W, d) of workers at x, (W, d), each group in one graph."""
    rows = torch.from_numpy(x).requires_grad_()
    losses = []
    for members in groups_of(len(x), group):
        views = [
            {name: v[0] for name, v in problem.views(rows[i : i + 1]).items()} for i in members
        ]
        before = [
            problem.inputs[indices[i]] @ v["0.weight"].T
            for i, v in zip(members, views, strict=True)
        ]
        together = batch_norm(torch.cat(before), None, None, training=True)
        pieces = torch.split(together, [len(piece) for piece in before])
        for i, v, y in zip(members, views, pieces, strict=True):
            active = torch.relu(y * v["1.weight"] + v["1.bias"])
            logits = active @ v["3.weight"].T + v["3.bias"]
            losses.append(cross_entropy(logits, problem.targets[indices[i]]))
    (gradient,) = torch.autograd.grad(torch.stack(losses).sum(), rows)
    return torch.stack(losses).detach().numpy(), gradient.numpy()


@pytest.mark.mpi
def test_gradients_are_those_of_the_sum_of_the_groups_losses(comm: MPI.Intracomm) -> None:
    for total in TOTALS:
        gradients(comm, total)


def gradients(comm: MPI.Intracomm, total: int) -> None:
    rng = np.random.default_rng(total)
    exchange = MPIExchange(comm, total, dtype="float64")
    for group in (0, 1, 2, 3, total, total + 2):
        problem = perceptron(group)
        full = np.stack([problem.initial(seed) for seed in range(total)])
        full += 0.3 * rng.standard_normal(full.shape)  # scales and shifts of their own
        indices = rng.integers(0, TRAINING, (total, 6))
        x = full[exchange.ids]
        g = np.full_like(x, np.nan)

        def share(rows: NDArray[np.floating], group: int) -> None:
            exchange.mean(rows, group=group)

        learner = problem.learner(x, g, share)
        losses = learner.gradient(learner.fetch(indices[list(exchange.ids)]))
        wanted_losses, expected = reference(problem, full, indices, group)
        everywhere(comm, close(losses, wanted_losses[list(exchange.ids)]), group)
        everywhere(comm, close(g, expected[exchange.ids]), group)
    exchange.close()


def train(comm: MPI.Intracomm, indices: NDArray[np.int64], group: int) -> Array:
    """Train by all-reduce SGD on these samples, (steps, W, b); return the (W, d) parameters."""
    total = indices.shape[1]
    problem = perceptron(group)
    exchange = MPIExchange(comm, total, dtype="float64")
    workers = TrainingWorkers(
        problem,
        SGD(lr=0.1, momentum=0.9),
        lambda _: FixedBatches(indices, exchange.ids),
        exchange.rows(problem.d),
        exchange.rows(problem.d),
        ids=exchange.ids,
        samples=np.ones(total, np.int64),
        seed=0,
        meter=exchange.meter,
        exchange=exchange,
    )
    algorithm = AllReduceSGD()
    state = algorithm.init(exchange, workers)
    for _ in range(len(indices)):
        algorithm.step(exchange, workers, state)
    x = all_rows(comm, workers.x)
    exchange.close()
    return x


def by_plain_torch(indices: NDArray[np.int64]) -> Array:
    """Train one torch module with BatchNorm1d on the same, (steps, n); return its parameters."""
    problem = perceptron(0)
    model = problem.build(0).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for chosen in indices:
        optimizer.zero_grad()
        loss = cross_entropy(model(problem.inputs[chosen]), problem.targets[chosen])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    flat: Array = torch.nn.utils.parameters_to_vector(model.parameters()).detach().numpy()
    return flat


@pytest.mark.mpi
def test_a_group_of_everyone_is_one_worker_with_everyones_minibatch(comm: MPI.Intracomm) -> None:
    steps, total, batch = 20, 6, 5
    indices = np.random.default_rng(0).integers(0, TRAINING, (steps, total, batch))
    x = train(comm, indices, group=total)
    large = by_plain_torch(indices.reshape(steps, total * batch))
    everywhere(comm, np.abs(x - perceptron(0).initial(0)).max() > 0.1, "it must have moved")
    for row in x:  # float64, 20 steps with momentum
        everywhere(comm, np.allclose(row, large, rtol=0, atol=1e-12), np.abs(row - large).max())
    apart = train(comm, indices, group=2)
    everywhere(comm, np.abs(apart[0] - large).max() > 1e-3, "smaller groups are another model")


@pytest.mark.mpi
def test_results_do_not_depend_on_where_workers_live(comm: MPI.Intracomm) -> None:
    indices = np.random.default_rng(1).integers(0, TRAINING, (8, 7, 4))
    for group in (0, 3, 7):
        here, alone = train(comm, indices, group), train(MPI.COMM_SELF, indices, group)
        # float64, 8 steps: a product of one row may round differently from one of many
        everywhere(comm, np.allclose(here, alone, rtol=0, atol=1e-12), group)


def test_a_model_is_scored_with_statistics_of_the_training_images() -> None:
    problem = perceptron(4)
    rows = np.stack([problem.initial(seed) for seed in range(18)])  # a chunk and two more
    rows += 0.3 * np.random.default_rng(0).standard_normal(rows.shape)
    losses, accuracies = problem.evaluate(rows)
    inputs, targets = problem._held_out
    for row, loss, accuracy in zip(rows, losses, accuracies, strict=True):
        first, scale, shift, second, bias = (
            view[0] for view in problem.views(torch.from_numpy(row[None])).values()
        )
        norm = torch.nn.BatchNorm1d(HIDDEN).double().eval()
        before = problem.inputs @ first.T
        norm.running_mean, norm.running_var = before.mean(0), before.var(0, correction=0)
        with torch.no_grad():
            norm.weight.copy_(scale)
            norm.bias.copy_(shift)
            logits = torch.relu(norm(inputs @ first.T)) @ second.T + bias
        np.testing.assert_allclose(loss, cross_entropy(logits, targets).item(), atol=1e-12)
        assert accuracy == int((logits.argmax(1) == targets).sum()) / 360
    assert [scores.dtype.name for scores in (losses, accuracies)] == ["float64"] * 2


def test_equal_activations_stay_finite() -> None:
    """The variance is 0, and rounding can make it negative in float32."""
    values = np.linspace(1, 3000, 500, dtype=np.float32)
    x = torch.from_numpy(np.tile(values, (1, 3, 1))).requires_grad_()
    squares = (x.detach() ** 2).sum(1) / 3 - (x.detach().sum(1) / 3) ** 2
    assert (squares < -EPS).any(), "some must be on the wrong side"
    y = normalise(x)
    y.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert torch.isfinite(y).all()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "layer"}, "norm must be one of none, batch, got 'layer'"),
        ({"norm": "batch", "group": -1}, "group must be >= 0, got -1"),
        ({"group": 2}, "group=2 needs a norm with statistics: norm=batch"),
    ],
)
def test_digits_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        Digits(**options)
    assert str(error.value) == message


def test_groups_need_an_exchange() -> None:
    problem = Digits(HIDDEN, norm="batch", group=2).load("float32")
    x = problem.initial(0)[None].copy()
    with pytest.raises(ValueError, match="group=2 shares statistics between workers"):
        problem.learner(x, x.copy())


@pytest.mark.parametrize(
    ("task", "batch", "workers", "refused"),
    [
        ("digits:norm=batch", 1, 4, True),
        ("digits:norm=batch", 2, 4, False),
        ("digits:norm=batch,group=2", 1, 4, False),
        ("digits:norm=batch,group=2", 1, 5, True),  # the last group has one worker
        ("digits:norm=batch,group=4", 1, 1, True),
        ("digits", 1, 4, False),
        ("cnn:norm=batch", 1, 4, False),  # a picture has several positions
    ],
)
def test_statistics_of_one_sample_are_refused(
    task: str, batch: int, workers: int, refused: bool
) -> None:
    experiment = Experiment.resolve(TrainOptions(task=task, batch=batch, workers=workers), 1)
    if not refused:
        experiment.check()
        return
    with pytest.raises(UserError, match="batch norm of one sample is 0, and --batch 1 gives"):
        experiment.check()
