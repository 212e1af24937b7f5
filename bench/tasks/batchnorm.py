"""Batch norm whose statistics are those of a group of workers.

Ioffe, Szegedy: Batch Normalization, ICML 2015; Ying et al.: Image Classification at Supercomputer
Scale, 2018 (distributed batch norm).
Symbols: x activations of a feature over all n samples of a group, y = (x - mu) / sqrt(s2 + eps),
r = dL/dy, where L is the sum of the losses of all workers of the group.

    1. mu = sum x / n,  s2 = sum x^2 / n - mu^2
    2. dL/dx = (r - sum r / n - y sum(r y) / n) / sqrt(s2 + eps)

The sums run over the samples of all workers and n is counted with them, so minibatches may be of
different sizes. Every worker scales and shifts y by its own parameters afterwards. Departs from
Ying et al., who share means: those would weigh workers alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

EPS = 1e-5
"""Added to the variance: torch's own default."""

GroupMean: TypeAlias = Callable[[NDArray[np.floating]], None]
"""Replaces every row of (V, n) by the mean over the workers of its group; collective."""


def alone(rows: NDArray[np.floating]) -> None:
    """The mean over a group of one worker."""


def normalise(
    x: torch.Tensor, mean: GroupMean = alone, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Normalise the activations x, (V, b, f), over the samples of each worker's group; collective.

    So is the backward pass. mask, (V, b, 1): 1 for a sample and 0 for what pads a shorter
    minibatch, which neither counts nor has a gradient, and comes out as 0. Ranks may differ in b.
    """
    result: torch.Tensor = _Normalise.apply(x, mean, mask)  # type: ignore[no-untyped-call]
    return result


def normalised_by(x: torch.Tensor, samples: torch.Tensor) -> torch.Tensor:
    """Normalise x, (..., b, f), by the statistics of other samples, (..., n, f)."""
    variance, mean = torch.var_mean(samples, dim=-2, correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + EPS)


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, mean: GroupMean, mask: Any) -> torch.Tensor:
        if mask is None:
            kept, counts = x, torch.full_like(x[:, 0, :1], x.shape[1])
        else:
            kept, counts = x * mask, mask.sum(1)
        sums = torch.cat([kept.sum(1), (kept * kept).sum(1), counts], dim=1)
        mean(sums.numpy())  # of sums, so the size of the group cancels in what follows
        ctx.mean, ctx.n = mean, sums[:, -1:]
        mu, square = (sums[:, :-1] / ctx.n).chunk(2, dim=1)  # 1.
        variance = (square - mu * mu).clamp_(min=0)  # rounding can leave less than nothing
        scale = torch.rsqrt(variance + EPS)[:, None]
        y: torch.Tensor = (kept - mu[:, None]) * scale
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
