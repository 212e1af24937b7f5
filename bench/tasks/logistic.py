"""Multinomial logistic regression with weight decay: convex, with a known optimum.

    f(W) = mean over the samples of -log softmax(W x)_y + l2 / 2 |W|^2,  W (classes, features + 1),

with the last column for a constant feature 1, decayed like the others, so that f is l2-strongly
convex: at a point with gradient g, f is at most |g|^2 / (2 l2) above its minimum. The metric, gap,
is f minus the minimum over all unaltered training samples; at the optimum it may be slightly
negative from rounding. No torch is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from algorithms.protocol import Layer, Ready
from bench.data.protocol import NO_FILE, flatten, in_dtype
from bench.tasks.mlp import check_part
from bench.tasks.protocol import Alter, Metric, Needs, Share, Task, keep
from partitions.protocol import Samples

EVALUATED = 2**24
"""Logits computed at once to evaluate models."""


@dataclass(frozen=True)
class Logistic(Task):
    """Logistic regression on --data or the digits; metric: the loss above its optimum."""

    l2: float = field(
        default=0.01, metadata={"help": "weight decay, which makes the loss strongly convex"}
    )
    standardise: bool = field(
        default=True, metadata={"help": "scale every feature to mean 0 and deviation 1"}
    )
    held_out: float = field(
        default=0.2, metadata={"help": "fraction left out of data without a test set"}
    )
    metric: ClassVar[Metric] = Metric("gap", "min")

    def __post_init__(self) -> None:
        if not 0 < self.l2 < np.inf:
            raise ValueError(f"l2 must be a finite number > 0, got {self.l2}")
        check_part(self.held_out)

    @property
    def needs(self) -> Needs:
        """Declare that the task reads samples, and that the optimum is that of all of them."""
        return Needs(reads="samples", pictures=True, all_samples=True, numpy=True)

    def load(self, dtype: str, data: str = "") -> LogisticProblem:
        """Read the samples and compute the optimum, in float64."""
        from bench.data.opening import data_or_digits
        from bench.data.protocol import standardise

        data_set = data_or_digits(data, self.held_out)
        table = flatten(data_set.train)
        if self.standardise:
            (table,) = standardise(table)
        every = np.arange(table.size)
        if dtype != "float64":
            in_dtype(table, every, dtype)
        inputs = in_dtype(table, every, "float64")
        samples = Samples(table.labels, inputs, table.groups, data_set.names)
        problem = LogisticProblem(self.metric, samples, data_set.classes, self.l2, dtype)
        problem.names, problem.summary = data_set.names, data_set.summary
        return problem


class LogisticProblem:
    """Problem of the task; inputs with the constant are (n, f + 1).

    See bench.tasks.protocol.Problem.
    """

    def __init__(
        self, metric: Metric, samples: Samples, classes: int, l2: float, dtype: str
    ) -> None:
        assert samples.features is not None
        self.metric, self.classes, self.l2, self._dtype = metric, classes, l2, dtype
        self.names: Sequence[str] = ()
        self.summary = NO_FILE
        self._all, self._labels = _with_constant(samples.features), samples.labels
        self.samples = replace(samples, features=self._all[:, :-1])  # one copy in memory
        self.eval_samples = len(self._labels)
        self.inputs, self.targets = self._all.astype(dtype, copy=False), self._labels
        self.d = classes * self._all.shape[1]
        self.layers: Sequence[Layer] = [Layer(0, self.d, (classes, self._all.shape[1]))]
        self.optimum, self.least = optimum(self._all, self._labels, classes, l2)

    def features(self) -> NDArray[Any]:
        """Return the inputs of all samples, (n, f)."""
        assert self.samples.features is not None
        return self.samples.features

    def hold_out(self, indices: NDArray[np.int64]) -> LogisticProblem:
        """Refuse always, by ValueError: the optimum is that of all training samples."""
        raise ValueError("the metric is defined on all training samples: leave --validation out")

    def hold(
        self, ids: range, shards: Sequence[NDArray[np.int64]], alter: Alter | None = None
    ) -> list[NDArray[np.int64]]:
        """Keep the samples of these workers: each once, or once a worker if they are altered."""

        def read(own: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
            return self._all[own, :-1].astype(self._dtype), self._labels[own]

        own_samples = keep(ids, shards, alter, read)
        self.inputs, self.targets = _with_constant(own_samples.inputs), own_samples.targets
        return own_samples.places

    def inputs_at(self, places: NDArray[np.int64]) -> NDArray[np.floating]:
        """Return the inputs at these positions after `hold`, (m, f)."""
        rows: NDArray[np.floating] = self.inputs[places, :-1]
        return rows

    def initial(self, seed: int) -> NDArray[np.floating]:
        """Return small random numbers, (d,)."""
        start = 0.01 * np.random.default_rng(seed).standard_normal(self.d)
        vector: NDArray[np.floating] = start.astype(self._dtype)
        return vector

    def state_dict(self, row: NDArray[np.floating]) -> dict[str, NDArray[Any]]:
        """Return weight (classes, f) and bias (classes,), as those of torch.nn.Linear."""
        whole = row.reshape(self.classes, -1)
        return {"weight": whole[:, :-1].copy(), "bias": whole[:, -1].copy()}

    def learner(
        self, x: NDArray[np.floating], g: NDArray[np.floating], share: Share | None = None
    ) -> LogisticLearner:
        """Bind to the rows; nothing is shared."""
        return LogisticLearner(self, x, g)

    def evaluate(
        self, rows: NDArray[np.floating]
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Return the loss over all unaltered training samples and its gap, (n,) each."""
        models = max(1, EVALUATED // (len(self._labels) * self.classes))
        losses = []
        for part in np.array_split(rows.astype(np.float64), -(-len(rows) // models)):
            logits = np.matmul(self._all, part.reshape(len(part), self.classes, -1).swapaxes(1, 2))
            _, each = softmax(logits, np.broadcast_to(self._labels, logits.shape[:2]))
            losses.append(each.mean(1) + self.l2 / 2 * (part**2).sum(1))
        loss = np.concatenate(losses)
        return loss, loss - self.least


class LogisticLearner:
    """Gradients of minibatches by products over all workers."""

    def __init__(
        self, problem: LogisticProblem, x: NDArray[np.floating], g: NDArray[np.floating]
    ) -> None:
        self._problem, self.x, self.g = problem, x, g
        shape = (len(x), problem.classes, problem.d // problem.classes)
        self._x, self._g = x.reshape(shape), g.reshape(shape)

    def fetch(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
        """Return inputs (V, b, f + 1) and targets (V, b)."""
        return self._problem.inputs[indices], self._problem.targets[indices]

    def gradient(
        self,
        batch: tuple[NDArray[np.floating], NDArray[np.int64]],
        ready: Ready | None = None,
    ) -> NDArray[np.floating]:
        """Fill g, which is one part; return the (V,) losses, decay included."""
        inputs, targets = batch
        l2 = self._problem.l2
        shares, each = softmax(np.matmul(inputs, self._x.swapaxes(1, 2)), targets)
        np.matmul(subtract_targets(shares, targets).swapaxes(1, 2), inputs, out=self._g)
        self._g /= inputs.shape[1]
        self.g += l2 * self.x
        if ready:
            ready(0, self._problem.d)
        losses: NDArray[np.floating] = each.mean(1) + l2 / 2 * (self.x**2).sum(1)
        return losses


def _with_constant(inputs: NDArray[Any]) -> NDArray[Any]:
    """Append a constant feature 1."""
    return np.concatenate([inputs, np.ones((len(inputs), 1), inputs.dtype)], axis=1)


PRECISION = 1e-8
"""Maximum distance of the loss of an optimum from its minimum."""
LARGE = 1e6
"""Feature beyond which its scale, not l2, prevents an accurate optimum."""


def softmax(logits: NDArray[Any], targets: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the shares of the classes, (..., C), and the loss of each sample, (...).

    targets: (...), the class of each sample.
    """
    logits = logits - logits.max(-1, keepdims=True)
    exponentials = np.exp(logits)
    total = exponentials.sum(-1)
    target = np.take_along_axis(logits, targets[..., None], -1)[..., 0]
    return exponentials / total[..., None], np.log(total) - target


def subtract_targets(shares: NDArray[Any], targets: NDArray[np.int64]) -> NDArray[Any]:
    """Turn shares, in place, into the gradient of each sample's loss by its logits, (..., C)."""
    at = targets[..., None]
    np.put_along_axis(shares, at, np.take_along_axis(shares, at, -1) - 1, -1)
    return shares


def optimum(
    inputs: NDArray[np.float64], labels: NDArray[np.int64], classes: int, l2: float
) -> tuple[NDArray[np.float64], float]:
    """Return the optimum of f, (classes * f,), and f there, by L-BFGS.

    inputs: (n, f). Errors: ValueError if it is not within PRECISION.
    """
    from scipy.optimize import minimize

    n, shape = len(labels), (classes, inputs.shape[1])

    def loss(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        shares, each = softmax(inputs @ w.reshape(shape).T, labels)
        gradient = (subtract_targets(shares, labels).T @ inputs / n).ravel() + l2 * w
        return float(each.mean() + l2 / 2 * (w @ w)), gradient

    with np.errstate(all="ignore"):  # an overflow leaves a bound that is too large, or NaN
        solution = minimize(
            loss,
            np.zeros(classes * inputs.shape[1]),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 20_000, "maxfun": 40_000, "ftol": 0.0, "gtol": 1e-9, "maxcor": 30},
        )
        bound = float(solution.jac @ solution.jac) / (2 * l2)  # f is l2-strongly convex
    largest = float(np.abs(inputs).max())
    if not bound <= PRECISION and largest > LARGE:
        raise ValueError(
            f"features of up to {largest:.2g} are too large for the optimum: take standardise=true"
        )
    if bound > PRECISION:
        raise ValueError(
            f"l2={l2:g}: the optimum is accurate to {bound:.2g} only, and {PRECISION:g} is "
            "needed: take a larger l2"
        )
    return solution.x, float(solution.fun)
