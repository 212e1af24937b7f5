"""Stochastic gradient descent with momentum, as torch.optim.SGD defines it.

Symbols: x parameters, g gradient, v velocity, m momentum, all of one worker; lr the rate.

    1. v <- m v + g
    2. x <- x - lr v, or with Nesterov's momentum x - lr (g + m v)
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from algorithms.layers import Layer
from algorithms.protocol import SCRATCH
from bench.runtime.optimizers import blocks
from bench.runtime.optimizers.blocks import Rows, library
from bench.runtime.optimizers.checks import fraction, not_negative, positive


@dataclass
class SGDState:
    """Velocity (V, d), or (0, d) without momentum, and scratch for the step of a block."""

    velocity: Rows
    step: Rows = field(metadata=SCRATCH)


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
        """The decay is part of the gradient."""
        return self.weight_decay

    def init(self, x: Rows, layers: Sequence[Layer]) -> SGDState:
        """Velocity at rest; every parameter is treated alike."""
        return SGDState(0 * (x if self.momentum else x[:0]), 0 * x.reshape(-1)[: blocks.BLOCK])

    def update(self, x: Rows, g: Rows, state: SGDState) -> None:
        """One step of every row, in place."""
        x, g, velocity = x.reshape(-1), g.reshape(-1), state.velocity.reshape(-1)
        multiply = library(x).multiply
        for a in range(0, len(x), blocks.BLOCK):
            rows, direction = x[a : a + blocks.BLOCK], g[a : a + blocks.BLOCK]
            step = state.step[: len(direction)]
            if self.momentum:
                v = velocity[a : a + blocks.BLOCK]
                v *= self.momentum  # 1.
                v += direction
                if self.nesterov:
                    multiply(v, self.momentum, out=step)
                    step += direction
                    direction = step
                else:
                    direction = v
            multiply(direction, self.lr, out=step)  # 2.
            rows -= step
