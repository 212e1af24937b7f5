"""The worker of a loop of one's own: its gradient is a closure, its optimizer is torch's."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from algorithms.exchange.clock import FORWARD
from algorithms.exchange.mpi import MPIExchange
from algorithms.protocol import Layer, Ready, Workers
from algorithms.wire.meter import GRADIENT, OTHER, UPDATE
from bench.common.spec import UserError
from bench.loop.row import Parameters, layers_of, move_into, pieces, some
from bench.session.launch import on_all_ranks

if TYPE_CHECKING:
    from mpi4py import MPI

Closure: TypeAlias = Callable[[], Any]
"""Returns the loss of the next minibatch, a tensor of one element; it may call backward itself."""


class LoopWorker(Workers):
    """One worker on this rank; see algorithms.protocol.Workers. Collective to build.

    The parameters become views of the row x, their gradients views of g; all workers start from
    the parameters of rank 0. samples: samples of this rank's part of the data.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        parameters: Parameters,
        optimizer: torch.optim.Optimizer,
        exchange: MPIExchange,
        *,
        samples: int,
        unused: bool,
    ) -> None:
        self._comm, self._exchange, self._meter = comm, exchange, exchange.meter
        self.ids, self.total = exchange.ids, exchange.total
        self.samples: NDArray[np.int64] = np.array(comm.allgather(samples), np.int64)
        self.layers: Sequence[Layer] = layers_of(parameters)
        d = self.layers[-1].stop
        self.x, self.g = exchange.rows(d), exchange.rows(d)
        self.losses: NDArray[np.floating] = np.full(1, np.nan)
        move_into(parameters, pieces(self.x[0], self.layers))
        comm.Bcast(self.x)
        self._names, self._parameters = list(parameters), list(parameters.values())
        self._gradients, self._flat = pieces(self.g[0], self.layers), torch.from_numpy(self.g)
        self._optimizer, self._unused = optimizer, unused
        self._closure: Closure | None = None
        self._arrived = [False] * len(self._parameters)
        self._ready: Ready | None = None
        self._left = 0
        self.drawn = 0
        """Number of gradients since the start."""
        self._hooks = [
            parameter.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                partial(self._on_gradient, i)
            )
            for i, parameter in enumerate(self._parameters)
        ]

    def use(self, closure: Closure) -> None:
        """Set the closure of the next gradient."""
        self._closure = closure

    def gradient(self, ready: Ready | None = None) -> NDArray[np.floating]:
        """Fill g by the closure at x; return the loss, (1,).

        With `ready`, parts are reported while the backward pass runs if the closure leaves it to
        this method; else all at once. The first gradient is checked, and reported at once.
        """
        self._meter.lap(OTHER)
        began = time.perf_counter_ns()
        assert self._closure is not None
        self._flat.zero_()
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient
        self._arrived = [False] * len(self._parameters)
        loss = self._closure()
        if not any(self._arrived):
            self._ready = self._reported(ready) if ready and self.drawn else None
            self._left = len(self._parameters)
            self._backward(loss)
            self._ready = None
        self._check()
        value = loss.item() if isinstance(loss, torch.Tensor) else loss
        self.losses = np.full(1, np.nan if value is None else float(value))
        straggler = self._exchange.trouble.straggler
        if self._exchange.clock:
            self._exchange.clock.gradient(self.drawn)
        elif straggler:
            passed_s = (time.perf_counter_ns() - began) / 1e9
            time.sleep(straggler.late_s(self.ids, self.drawn, passed_s, self._exchange.seed))
        self.drawn += 1
        self._meter.lap(GRADIENT)
        if ready and self._left:
            ready(0, self.layers[self._left - 1].stop)
        return self.losses

    def _reported(self, ready: Ready) -> Ready:
        """Return `ready` that advances the model clock first, if there is one."""
        clock, d = self._exchange.clock, self.x.shape[1]
        if clock is None:
            return ready

        def report(lo: int, hi: int) -> None:
            clock.gradient(self.drawn, FORWARD + (1 - FORWARD) * (1 - lo / d))
            ready(lo, hi)

        return report

    def update(self) -> None:
        """Take one step of the torch optimizer along g."""
        self._meter.lap(OTHER)
        self._optimizer.step()
        self._meter.lap(UPDATE)

    def close(self) -> None:
        """Remove the hooks from the parameters."""
        for hook in self._hooks:
            hook.remove()

    def _backward(self, loss: Any) -> None:
        def check() -> None:
            if not isinstance(loss, torch.Tensor) or loss.numel() != 1 or not loss.requires_grad:
                raise UserError(
                    f"the closure of step() returned {_kind(loss)}: return the loss, a tensor of "
                    "one element, or call its backward() in the closure"
                )

        if not self.drawn:
            on_all_ranks(self._comm, check)
        loss.backward()

    def _check(self) -> None:
        """Check that every parameter has a gradient. Errors: UserError at the first step."""
        missing = [n for n, arrived in zip(self._names, self._arrived, strict=True) if not arrived]
        if self._unused or (self.drawn and not missing):
            return
        text = (
            f"{some(missing)} got no gradient: the loss does not depend on it. Freeze it by "
            "requires_grad_(False) before attach, or give attach unused=True, which exchanges zeros"
        )

        def check() -> None:
            if missing:
                raise UserError(text)

        if not self.drawn:
            on_all_ranks(self._comm, check)
        elif missing:
            raise RuntimeError(text)

    def _on_gradient(self, i: int, parameter: torch.Tensor) -> None:
        gradient = self._gradients[i]
        if parameter.grad is not gradient:  # the closure called zero_grad
            assert parameter.grad is not None
            gradient.copy_(parameter.grad)
            parameter.grad = gradient
        self._arrived[i] = True
        if self._ready is None:
            return
        last = self._left
        while self._left and self._arrived[self._left - 1]:
            self._left -= 1
        if self._left < last:
            self._meter.lap(GRADIENT)
            self._ready(self.layers[self._left].start, self.layers[last - 1].stop)


def _kind(value: Any) -> str:
    """Return words for a value that is no loss."""
    if not isinstance(value, torch.Tensor):
        return f"{type(value).__name__}"
    if value.numel() != 1:
        return f"a tensor of shape {tuple(value.shape)}"
    return "a tensor without a gradient"
