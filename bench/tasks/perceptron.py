"""A two-layer perceptron with batch norm, all workers of a rank at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from algorithms.layers import Ready
from bench.tasks.batchnorm import EPS, GroupMean, alone, normalise, normalised_by
from bench.tasks.classifier import Classifier
from bench.tasks.model import Batch
from bench.tasks.parts import FinishedParts
from bench.tasks.protocol import Learner, Share

EVALUATED = 16
"""Models evaluated at once: each passes all training samples."""


def layers(inputs: int, hidden: int, classes: int) -> torch.nn.Sequential:
    """The model as torch writes it, with the statistics of the minibatch at hand, always.

    The first layer has no bias: the norm would take it away again.
    """
    return torch.nn.Sequential(
        torch.nn.Linear(inputs, hidden, bias=False),
        torch.nn.BatchNorm1d(hidden, eps=EPS, track_running_stats=False),
        torch.nn.ReLU(),
        torch.nn.Linear(hidden, classes),
    )


class NormedPerceptron(Classifier):
    """A Classifier of `layers` whose groups of consecutive workers share their statistics."""

    def __init__(self, model: Callable[[], torch.nn.Module], *, group: int, **data: Any) -> None:
        super().__init__(model, **data)
        self._group = group
        self._everything = self.training(np.arange(self.samples.size))[0]

    def learner(
        self, x: NDArray[np.floating], g: NDArray[np.floating], share: Share | None = None
    ) -> Learner:
        """Batched products over the rows, so that statistics can cross them.

        With groups of two and more, gradient is collective: its forward and its backward pass
        exchange statistics by `share`. Errors: ValueError where that is missing.
        """
        mean: GroupMean = alone
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
        """Loss (n,) and accuracy (n,) of n models on the held-out images, float64.

        Nothing remembers statistics from training. They are estimated anew for every model that is
        evaluated, the mean model too, from all training images.
        """
        inputs, targets = self._held_out
        losses, accuracies = [], []
        with torch.no_grad():
            for chunk in torch.split(torch.from_numpy(rows), EVALUATED):
                parameters = list(self.views(chunk).values())
                samples = hidden(parameters, self._everything)
                outcome = logits(parameters, normalised_by(hidden(parameters, inputs), samples))
                losses.append(loss_of(outcome, targets.expand(len(chunk), -1)).double())
                accuracies.append((outcome.argmax(2) == targets).double().mean(1))
        return torch.cat(losses).numpy(), torch.cat(accuracies).numpy()


def _in_groups(share: Share, group: int, rows: NDArray[np.floating]) -> None:
    share(rows, group)


def hidden(parameters: list[torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
    """What the norm receives, (V, b, h), of V models: inputs are (V, b, n), or (b, n) for all."""
    return torch.matmul(inputs, parameters[0].transpose(1, 2))


def logits(parameters: list[torch.Tensor], normalised: torch.Tensor) -> torch.Tensor:
    """(V, b, classes) of V models from what the norm gives, (V, b, h)."""
    _, scale, shift, weights, bias = parameters
    active = torch.relu(normalised * scale[:, None] + shift[:, None])
    return torch.baddbmm(bias[:, None], active, weights.transpose(1, 2))


def loss_of(outcome: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The mean cross-entropy of each model, (V,), of logits (V, b, classes) and targets (V, b)."""
    each = cross_entropy(outcome.flatten(0, 1), targets.flatten(), reduction="none")
    return each.view(targets.shape).mean(1)


class NormedRows:
    """The workers of a rank: parameters are (V, *shape) views of the rows."""

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
        self._watched: tuple[list[torch.Tensor], FinishedParts] | None = None

    def fetch(self, indices: NDArray[np.int64]) -> Batch:
        """Inputs (V, b, n) and targets (V, b)."""
        chosen = torch.from_numpy(indices)
        return self._problem.inputs[chosen], self._problem.targets[chosen]

    def gradient(self, batch: Batch, ready: Ready | None = None) -> NDArray[np.floating]:
        """Fill the gradient of the sum of the group's losses; return the (V,) losses."""
        if ready:
            parameters, parts = self._watched or self._watch()
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
        return loss_of(logits(parameters, normalised), targets)

    def _leaves(self) -> list[torch.Tensor]:
        views = self._problem.views(self._rows).values()
        return [view.detach().requires_grad_() for view in views]

    def _watch(self) -> tuple[list[torch.Tensor], FinishedParts]:
        """Leaves of their own for hooks: without `ready` nothing must wait for them."""
        leaves = self._leaves()
        self._watched = leaves, FinishedParts(leaves, self._gradients, self._problem.layers)
        return self._watched
