"""Batch norm with statistics of a group of workers, and a two-layer perceptron with it.

Ioffe, Szegedy: Batch Normalization, ICML 2015; Ying et al.: Image Classification at Supercomputer
Scale, 2018 (distributed batch norm).

Symbols: x activations of a feature over all n samples of a group, y = (x - mu) / sqrt(s2 + eps),
r = dL/dy, where L is the sum of the losses of all workers of the group.

    1. mu = sum x / n,  s2 = sum x^2 / n - mu^2
    2. dL/dx = (r - sum r / n - y sum(r y) / n) / sqrt(s2 + eps)

The sums run over the samples of all workers and n is summed with them, so minibatches may differ in
size. Every worker scales and shifts y by its own parameters afterwards. Departs from Ying et al.:
(1) they average means, which would give workers equal weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from algorithms.protocol import Ready
from bench.tasks.classifier import Classifier
from bench.tasks.learners import FinishedParts
from bench.tasks.model import Batch
from bench.tasks.protocol import Learner, Share

EPS = 1e-5
"""Term added to the variance: torch's default."""

GroupMean: TypeAlias = Callable[[NDArray[np.floating]], None]
"""mean(rows) replaces every row of (V, n) by the mean over the workers of its group; collective."""


def no_group(rows: NDArray[np.floating]) -> None:
    """Leave the rows as they are: the mean over a group of one worker."""


def normalise(
    x: torch.Tensor, mean: GroupMean = no_group, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Normalise the activations x, (V, b, f), over the samples of each worker's group; collective.

    The backward pass is collective, too. mask, (V, b, 1): 1 for a sample and 0 for the padding of a
    shorter minibatch, which does not count, has no gradient, and is 0 in the result. Ranks may
    differ in b.
    """
    result: torch.Tensor = _Normalise.apply(x, mean, mask)  # type: ignore[no-untyped-call]
    return result


def normalise_by(x: torch.Tensor, samples: torch.Tensor) -> torch.Tensor:
    """Normalise x, (..., b, f), by the statistics of other samples, (..., n, f)."""
    variance, mean = torch.var_mean(samples, dim=-2, correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + EPS)


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, mean: GroupMean, mask: Any) -> torch.Tensor:
        if mask is None:
            real, counts = x, torch.full_like(x[:, 0, :1], x.shape[1])
        else:
            real, counts = x * mask, mask.sum(1)
        sums = torch.cat([real.sum(1), (real * real).sum(1), counts], dim=1)
        mean(sums.numpy())  # of sums: the size of the group cancels below
        ctx.mean, ctx.n = mean, sums[:, -1:]
        mu, square = (sums[:, :-1] / ctx.n).chunk(2, dim=1)  # 1.
        variance = (square - mu * mu).clamp_(min=0)  # rounding can make it negative
        scale = torch.rsqrt(variance + EPS)[:, None]
        y: torch.Tensor = (real - mu[:, None]) * scale
        if mask is not None:
            y *= mask
        ctx.save_for_backward(y, scale, mask)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        y, scale, mask = ctx.saved_tensors
        r = gradients[0] if mask is None else gradients[0] * mask
        sums = torch.cat([r.sum(1), (r * y).sum(1)], dim=1)
        ctx.mean(sums.numpy())
        shift, slope = (sums / ctx.n)[:, None].chunk(2, dim=2)
        x = (r - shift - y * slope) * scale  # 2.
        return (x if mask is None else x * mask), None, None


EVALUATED = 16
"""Models evaluated at once: each processes all training samples."""


def layers(inputs: int, hidden: int, classes: int) -> torch.nn.Sequential:
    """Return the torch model, which normalises by the minibatch at hand in training and evaluation.

    The first layer has no bias: the norm would remove it.
    """
    return torch.nn.Sequential(
        torch.nn.Linear(inputs, hidden, bias=False),
        torch.nn.BatchNorm1d(hidden, eps=EPS, track_running_stats=False),
        torch.nn.ReLU(),
        torch.nn.Linear(hidden, classes),
    )


class NormedPerceptron(Classifier):
    """Classifier of `layers` with shared statistics in groups of consecutive workers."""

    def __init__(self, model: Callable[[], torch.nn.Module], *, group: int, **data: Any) -> None:
        super().__init__(model, **data)
        self._group = group

    @cached_property
    def _everything(self) -> torch.Tensor:
        """Return the inputs of all training samples, (n, ...)."""
        return self.training(np.arange(self.samples.size))[0]

    def learner(
        self, x: NDArray[np.floating], g: NDArray[np.floating], share: Share | None = None
    ) -> Learner:
        """Bind batched products over the rows, so that statistics can cross them.

        With groups of two or more, the gradient is collective: its forward and its backward pass
        exchange statistics by `share`. Errors: ValueError if `share` is missing.
        """
        mean: GroupMean = no_group
        if self._group > 1:
            if share is None:
                raise ValueError(
                    f"group={self._group} shares statistics between workers: give the learner "
                    "an exchange, or take group=0"
                )
            mean = partial(_in_groups, share, self._group)
        return NormedRows(self, torch.from_numpy(x), torch.from_numpy(g), mean)

    def evaluate(
        self, rows: NDArray[np.floating]
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Return loss (n,) and accuracy (n,) of n models on the held-out images, float64.

        No statistics are kept from training. They are estimated for every evaluated model, the mean
        model too, from all training images.
        """
        targets = self._held_out[1]
        losses, accuracies = [], []
        for outcome in self._outcomes(rows):
            losses.append(loss_of(outcome, targets.expand(len(outcome), -1)).double())
            accuracies.append((outcome.argmax(2) == targets).double().mean(1))
        return torch.cat(losses).numpy(), torch.cat(accuracies).numpy()

    def ensemble(self, rows: NDArray[np.floating]) -> tuple[float, float]:
        """Return loss and accuracy of the mean softmax of n models on the held-out images."""
        targets = self._held_out[1]
        mean = torch.zeros(len(targets), self.classes, dtype=torch.float64)
        for outcome in self._outcomes(rows):
            mean += outcome.double().softmax(2).sum(0) / len(rows)
        loss, hits = self.objective.sums(mean.log(), targets)
        return loss / len(targets), hits / len(targets)

    def _outcomes(self, rows: NDArray[np.floating]) -> Iterator[torch.Tensor]:
        """Yield the logits of the held-out images, (k, m, classes), for k models at a time."""
        for chunk in torch.split(torch.from_numpy(rows), EVALUATED):
            with torch.no_grad():
                parameters = list(self.views(chunk).values())
                samples = hidden(parameters, self._everything)
                normalised = normalise_by(hidden(parameters, self._held_out[0]), samples)
                yield logits(parameters, normalised)


def _in_groups(share: Share, group: int, rows: NDArray[np.floating]) -> None:
    """Replace the rows by their mean over groups."""
    share(rows, group)


def hidden(parameters: list[torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
    """Return the input of the norm, (V, b, h), of V models.

    inputs: (V, b, n), or (b, n) for all models.
    """
    return torch.matmul(inputs, parameters[0].transpose(1, 2))


def logits(parameters: list[torch.Tensor], normalised: torch.Tensor) -> torch.Tensor:
    """Return the logits, (V, b, classes), of V models from the output of the norm, (V, b, h)."""
    _, scale, shift, weights, bias = parameters
    active = torch.relu(normalised * scale[:, None] + shift[:, None])
    return torch.baddbmm(bias[:, None], active, weights.transpose(1, 2))


def loss_of(outcome: torch.Tensor, targets: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    """Return the mean cross-entropy of each model, (V,): logits (V, b, classes), targets (V, b).

    smoothing: of the targets; see `learners.mean_loss`.
    """
    flat = outcome.flatten(0, 1), targets.flatten()
    each = cross_entropy(*flat, reduction="none", label_smoothing=smoothing)
    return each.view(targets.shape).mean(1)


class NormedRows:
    """Gradients of the workers of a rank: parameters are (V, *shape) views of the rows."""

    def __init__(
        self,
        problem: NormedPerceptron,
        rows: torch.Tensor,
        gradients: torch.Tensor,
        mean: GroupMean,
    ) -> None:
        self._problem, self._rows, self._mean = problem, rows, mean
        self.x, self.g = rows, gradients
        self._gradients = list(problem.views(gradients).values())
        self._parameters = self._leaves()
        self._hooked: tuple[list[torch.Tensor], FinishedParts] | None = None

    def fetch(self, indices: NDArray[np.int64]) -> Batch:
        """Return inputs (V, b, n) and targets (V, b)."""
        i = torch.from_numpy(indices)
        return self._problem.inputs[i], self._problem.targets[i]

    def gradient(self, batch: Batch, ready: Ready | None = None) -> NDArray[np.floating]:
        """Fill the gradient of the sum of the group's losses; return the (V,) losses."""
        if ready:
            parameters, parts = self._hooked or self._watch()
            losses = self._losses(parameters, batch)
            parts.fill(losses.sum(), ready)
        else:
            losses = self._losses(self._parameters, batch)
            gradients = torch.autograd.grad(losses.sum(), self._parameters)
            for view, gradient in zip(self._gradients, gradients, strict=True):
                view.copy_(gradient)
        result: NDArray[np.floating] = losses.detach().numpy()
        return result

    def _losses(self, parameters: list[torch.Tensor], batch: Batch) -> torch.Tensor:
        inputs, targets = batch
        normalised = normalise(hidden(parameters, inputs), self._mean)
        return loss_of(logits(parameters, normalised), targets, self._problem.smoothing)

    def _leaves(self) -> list[torch.Tensor]:
        views = self._problem.views(self._rows).values()
        return [view.detach().requires_grad_() for view in views]

    def _watch(self) -> tuple[list[torch.Tensor], FinishedParts]:
        """Return leaves of their own for hooks: without `ready` no step waits for hooks."""
        leaves = self._leaves()
        self._hooked = leaves, FinishedParts(leaves, self._gradients, self._problem.layers)
        return self._hooked
