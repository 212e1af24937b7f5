"""Network of bench.tasks.cnn in torch, with and without batch norm."""

from __future__ import annotations

from collections import OrderedDict
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from bench.tasks.batchnorm import EPS
from bench.tasks.classifier import Classifier
from bench.tasks.model import Answer

KERNEL, STRIDE = 5, 2
Statistics: TypeAlias = tuple[torch.Tensor, torch.Tensor]
CALIBRATION = 1000
"""Training pictures from which a model's statistics are estimated for evaluation."""
CALIBRATION_SEED = 0
"""Seed of these pictures; they are drawn, because the first ones may be of one class."""


def side(pixels: int) -> int:
    """Return height or width after one convolution; zero padding keeps half of it."""
    return (pixels + 2 * (KERNEL // 2) - KERNEL) // STRIDE + 1


def count(channels: int, shape: tuple[int, ...], classes: int, norm: str) -> int:
    """Return the number of parameters of the network with these channels in its first layer."""
    planes, height, width = shape
    wide = 2 * channels
    left = wide * side(side(height)) * side(side(width))
    convolutions = (planes * KERNEL**2 + 1) * channels + (channels * KERNEL**2 + 1) * wide
    # A norm has scale and shift instead of the convolution's bias.
    return convolutions + (channels + wide if norm == "batch" else 0) + (left + 1) * classes


class BatchNorm(torch.nn.Module):
    """Batch norm over (m, channels, h, w) with the statistics of the minibatch at hand.

    Ioffe, Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal
    Covariate Shift", ICML 2015. Departs from the paper: (1) there are no running statistics from
    training; `frozen` are those of an evaluation, estimated for every model.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(channels))
        self.bias = torch.nn.Parameter(torch.zeros(channels))
        self.frozen: Statistics | None = None
        self.freezes = False
        """The next minibatch sets the frozen statistics."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x, (m, channels, h, w), normalised, scaled and shifted by channel."""
        mean, variance = self.frozen or statistics(x)
        if self.freezes:
            self.frozen = mean, variance
        scale = self.weight[:, None, None] / torch.sqrt(variance + EPS)
        return (x - mean) * scale + self.bias[:, None, None]


def statistics(x: torch.Tensor) -> Statistics:
    """Return mean and variance of the channels of (m, channels, h, w), (1, channels, 1, 1) each."""
    axes = (0, 2, 3)
    return x.mean(axes, keepdim=True), x.var(axes, unbiased=False, keepdim=True)


def network(shape: tuple[int, ...], channels: int, classes: int, norm: str) -> torch.nn.Module:
    """Return two strided convolutions and a linear layer for pictures of this shape (planes, h, w).

    For many workers vmap turns them into grouped convolutions, several times as fast on a CPU as
    products with unfolded pictures.
    """
    planes, height, width = shape
    wide = 2 * channels
    parts: OrderedDict[str, torch.nn.Module] = OrderedDict()
    for i, (n, m) in enumerate(((planes, channels), (channels, wide)), start=1):
        plain = norm == "none"
        parts[f"conv{i}"] = torch.nn.Conv2d(n, m, KERNEL, STRIDE, KERNEL // 2, bias=plain)
        if not plain:
            parts[f"norm{i}"] = BatchNorm(m)
        parts[f"relu{i}"] = torch.nn.ReLU()
    parts["flat"] = torch.nn.Flatten()
    left = wide * side(side(height)) * side(side(width))
    parts["linear"] = torch.nn.Linear(left, classes)
    return torch.nn.Sequential(parts)


class NormedNetwork(Classifier):
    """Classifier whose batch norms estimate their statistics for every model evaluated.

    The estimate uses unaltered training pictures: the data of the mean model.
    """

    def __init__(self, *model: Any, **data: Any) -> None:
        super().__init__(*model, **data)
        self._norms = [part for part in self.module.modules() if isinstance(part, BatchNorm)]

    @cached_property
    def _calibration(self) -> torch.Tensor:
        """Return the training pictures that the statistics are estimated from, (m, ...)."""
        order = np.random.default_rng(CALIBRATION_SEED).permutation(self.samples.size)
        return self.training(np.sort(order[:CALIBRATION]))[0].to(self.device)

    def ready(self, parameters: dict[str, torch.Tensor]) -> Answer:
        """Return the model with these parameters and the statistics of the calibration pictures."""
        for norm in self._norms:
            norm.frozen, norm.freezes = None, True
        model = super().ready(parameters)
        model(self._calibration)
        for norm in self._norms:
            norm.freezes = False
        return model

    def evaluate(
        self, rows: NDArray[np.floating]
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Return loss (n,) and accuracy (n,) of n models on the held-out pictures, float64."""
        scores = super().evaluate(rows)
        self._release()
        return scores

    def ensemble(self, rows: NDArray[np.floating]) -> tuple[float, float]:
        """Return loss and accuracy of the mean softmax of n models on the held-out pictures."""
        scores = super().ensemble(rows)
        self._release()
        return scores

    def _release(self) -> None:
        """Forget the statistics of the last model: the same module serves training."""
        for norm in self._norms:
            norm.frozen = None
