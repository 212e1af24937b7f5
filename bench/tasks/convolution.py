"""The network of bench.tasks.cnn in torch, with and without batch norm."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import torch

from bench.tasks.classifier import Classifier
from bench.tasks.cnn import KERNEL, STRIDE, side

EPS = 1e-5
CALIBRATION = 1000
"""Training pictures, the first ones, by which a model's statistics are estimated to evaluate it."""


class BatchNorm(torch.nn.Module):
    """Batch norm over (m, channels, h, w) with the statistics of the first samples it is given.

    Ioffe, Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal
    Covariate Shift", ICML 2015. Departs from the paper: (1) nothing remembers statistics from
    training; when a model is evaluated, pictures that it trains on stand before those it is judged
    by, and `calibrated` says how many: they alone make the statistics. In training all do.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(channels))
        self.bias = torch.nn.Parameter(torch.zeros(channels))
        self.calibrated: int | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x, (m, channels, h, w), at mean 0 and variance 1 by channel, scaled and shifted."""
        seen = x[: self.calibrated]
        mean = seen.mean((0, 2, 3), keepdim=True)
        variance = seen.var((0, 2, 3), unbiased=False, keepdim=True)
        scale = self.weight[:, None, None] / torch.sqrt(variance + EPS)
        return (x - mean) * scale + self.bias[:, None, None]


def network(shape: tuple[int, ...], channels: int, classes: int, norm: str) -> torch.nn.Module:
    """Two strided convolutions and a linear layer on pictures of this shape (planes, h, w)."""
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
    """A Classifier whose batch norms estimate their statistics anew for every model evaluated."""

    def __init__(self, *model: Any, **data: Any) -> None:
        super().__init__(*model, **data)
        self._calibration = self.training(np.arange(min(CALIBRATION, self.samples.size)))[0]

    def logits(self, parameters: dict[str, torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
        """What one model answers to held-out pictures, its statistics from training ones."""
        count = len(self._calibration)
        norms = [part for part in self.module.modules() if isinstance(part, BatchNorm)]
        for norm in norms:
            norm.calibrated = count
        answer = super().logits(parameters, torch.cat([self._calibration, inputs]))
        for norm in norms:
            norm.calibrated = None
        return answer[count:]
