"""A hand-written loop of many small models as a yardstick: batched products, updates in place.

Symbols: W workers, b samples, n -> h -> c the widths of one hidden layer, P parameters. A gradient
is never stored: each product adds -lr times it to the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch.nn import Module

CHUNK = 256
"""Models of a product: their weights and activations share the cache."""


class BatchedLoop:
    """SGD without momentum of W models, a linear layer, ReLU and a linear layer each.

    module: of which all models start. inputs: (m, n); targets: (m,) int64. samples: (s,)
    int64 of each worker, its samples, of which torch.randint draws minibatches.
    """

    def __init__(
        self,
        module: Module,
        inputs: torch.Tensor,
        targets: torch.Tensor,
        samples: Sequence[NDArray[np.int64]],
        *,
        batch: int,
        lr: float,
    ) -> None:
        start = [x.detach() for x in module.parameters()]
        self.parameters = [x.expand(len(samples), *x.shape).contiguous() for x in start]
        """Weights (W, h, n), biases (W, h), weights (W, c, h), biases (W, c)."""
        self._inputs, self._batch, self._lr = inputs, batch, lr
        self._samples = torch.from_numpy(np.stack(samples))
        self._targets = torch.nn.functional.one_hot(targets).to(inputs.dtype)
        self._chunks = list(zip(*(torch.split(x, CHUNK) for x in self.parameters), strict=True))

    def run(self, steps: int) -> None:
        """Take this number of steps on random minibatches."""
        W, s = self._samples.shape
        for _ in range(steps):
            drawn = torch.randint(s, (W, self._batch))
            self.learn(self._samples.gather(1, drawn))

    def learn(self, indices: torch.Tensor) -> None:
        """Take one step of each worker along the mean gradient of its samples, (W, b) int64."""
        lr = self._lr / indices.shape[1]
        for (w, a, v, c), i in zip(self._chunks, torch.split(indices, CHUNK), strict=True):
            x = self._inputs[i]
            hidden = torch.baddbmm(a.unsqueeze(1), x, w.transpose(1, 2)).relu_()
            logits = torch.baddbmm(c.unsqueeze(1), hidden, v.transpose(1, 2))
            error = torch.softmax(logits, 2).sub_(self._targets[i])
            back = torch.bmm(error, v).mul_(hidden > 0)
            v.baddbmm_(error.transpose(1, 2), hidden, alpha=-lr)
            c.add_(error.sum(1), alpha=-lr)
            w.baddbmm_(back.transpose(1, 2), x, alpha=-lr)
            a.add_(back.sum(1), alpha=-lr)
