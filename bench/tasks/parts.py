"""Parts of the gradient, told as the backward pass finishes them.

Li et al.: PyTorch Distributed: Experiences on Accelerating Data Parallel Training, VLDB 2020,
section 3.2, give the idea: an all-reduce of the last layers runs while the first ones are still
to be differentiated.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from threading import get_ident

import torch

from algorithms.layers import Layer, Ready


class FinishedParts:
    """Fills gradients and tells which are final, by hooks on the parameters.

    parameters: leaves of the graph, in the order of the row. gradients: views of the rows of g,
    one a parameter, of its shape. layers: where each lies in a row.
    """

    def __init__(
        self,
        parameters: Sequence[torch.Tensor],
        gradients: Sequence[torch.Tensor],
        layers: Sequence[Layer],
    ) -> None:
        self._parameters, self._gradients, self._layers = parameters, gradients, layers
        for i, parameter in enumerate(parameters):
            parameter.register_hook(partial(self._arrived, i))  # type: ignore[no-untyped-call]

    def fill(self, loss: torch.Tensor, ready: Ready) -> None:
        """Fill the gradients of a loss, (), that these parameters gave; call ready meanwhile.

        The parts come from the last layer to the first, whatever order they are finished in.
        """
        self._ready, self._thread = ready, get_ident()
        self._done = [False] * len(self._layers)
        self._left = len(self._layers)
        torch.autograd.grad(loss, self._parameters)
        assert self._left == 0, f"{self._left} layers have no gradient"

    def _arrived(self, i: int, gradient: torch.Tensor) -> None:
        assert get_ident() == self._thread, "on a CPU, torch differentiates in the calling thread"
        self._gradients[i].copy_(gradient)
        self._done[i] = True
        last = self._left
        while self._left and self._done[self._left - 1]:
            self._left -= 1
        if self._left < last:
            self._ready(self._layers[self._left].start, self._layers[last - 1].stop)
