"""Base optimisers: one step of every row, in place."""

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 512 * 1024
"""Of each array at a time: parameters, gradient and velocity of a block share the cache."""

Rows = NDArray[np.floating]


class Optimizer(Protocol):
    """A frozen dataclass: its fields are its options. Weight decay is added to g beforehand."""

    @property
    def weight_decay(self) -> float:
        """L2 coefficient."""
        ...

    def init(self, x: Rows) -> Any:
        """The State for (V, d) parameters; allocates every buffer."""
        ...

    def update(self, x: Rows, g: Rows, state: Any) -> None:
        """One step of every row of x, (V, d), along g, (V, d), in place; g is kept."""
        ...


@dataclass
class SGDState:
    """Velocity (V, d), or (0, d) without momentum, and scratch of one block."""

    velocity: Rows
    scratch: Rows


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
        if not 0 < self.lr < float("inf"):
            raise ValueError(f"lr must be > 0 and finite, got {self.lr}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {self.momentum}")
        if not 0 <= self.weight_decay < float("inf"):
            raise ValueError(f"weight_decay must be >= 0 and finite, got {self.weight_decay}")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs momentum > 0, e.g. momentum=0.9")

    def init(self, x: Rows) -> SGDState:
        """Velocity at rest."""
        rows = max(1, min(len(x), BLOCK_BYTES // x[0].nbytes))
        velocity = np.zeros_like(x) if self.momentum else np.zeros_like(x[:0])
        return SGDState(velocity, np.empty_like(x[:rows]))

    def update(self, x: Rows, g: Rows, state: SGDState) -> None:
        """V <- m v + g; x <- x - lr v, or with Nesterov x - lr (g + m v)."""
        step = len(state.scratch)
        for a in range(0, len(x), step):
            block = slice(a, a + step)
            direction, scratch = g[block], state.scratch[: len(x) - a]
            if self.momentum:
                v = state.velocity[block]
                v *= self.momentum
                v += direction
                if self.nesterov:
                    np.multiply(v, self.momentum, out=scratch)
                    scratch += direction
                    direction = scratch
                else:
                    direction = v
            np.multiply(direction, self.lr, out=scratch)
            x[block] -= scratch


OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD}
"""Optimiser by name: the only list."""
