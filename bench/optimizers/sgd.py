"""Stochastic gradient descent with momentum, as torch.optim.SGD defines it.

Symbols: x parameters, g gradient, v velocity, m momentum, all of one worker; lr the rate.

    1. v <- m v + g
    2. x <- x - lr v, or with Nesterov's momentum x - lr (g + m v)
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import repeat

import numpy as np

from algorithms.protocol import Layer
from bench.optimizers.blocks import Rows
from bench.optimizers.protocol import fraction, not_negative, positive


@dataclass
class SGDState:
    """Velocity (V, d), or (0, d) without momentum."""

    velocity: Rows


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum, as torch.optim.SGD defines it."""

    lr: float = field(default=0.1, metadata={"help": "learning rate"})
    momentum: float = field(default=0.0, metadata={"help": "heavy-ball momentum"})
    nesterov: bool = field(default=False, metadata={"help": "Nesterov's form of momentum"})
    weight_decay: float = field(
        default=0.0, metadata={"help": "L2 term added to every worker's gradient"}
    )

    def __post_init__(self) -> None:
        positive("lr", self.lr)
        fraction("momentum", self.momentum)
        not_negative("weight_decay", self.weight_decay)
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs momentum > 0, e.g. momentum=0.9")

    @property
    def l2(self) -> float:
        """Return the decay, which is part of the gradient."""
        return self.weight_decay

    def init(self, x: Rows, layers: Sequence[Layer]) -> SGDState:
        """Return zero velocity; every parameter is treated alike."""
        return SGDState(0 * (x if self.momentum else x[:0]))

    def parts(self, state: SGDState, views: Callable[[Rows], Sequence[Rows]]) -> Iterable[SGDState]:
        """Return the State of each part of the rows."""
        return [SGDState(v) for v in views(state.velocity)] if self.momentum else repeat(state)

    def update(self, x: Rows, g: Rows, state: SGDState) -> None:
        """Take one step of every row, in place."""
        if not self.momentum:
            add(x, -self.lr, g, out=x)  # 2.
            return
        v = state.velocity
        add(g, self.momentum, v, out=v)  # 1.
        if self.nesterov:
            add(x, -self.lr, g, out=x)  # 2.
            add(x, -self.lr * self.momentum, v, out=x)
        else:
            add(x, -self.lr, v, out=x)  # 2.


def add(a: Rows, scale: float, b: Rows, out: Rows) -> None:
    """Set out to a + scale b; out may be a or b.

    Tensors take one pass, with one rounding if the processor can: the same for every element, at
    any position.
    """
    if isinstance(out, np.ndarray):
        np.add(a, scale * b, out=out)
    else:
        import torch

        torch.add(a, b, alpha=scale, out=out)
