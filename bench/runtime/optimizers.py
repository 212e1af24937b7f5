"""Base optimisers: one step of every row, in place."""

from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np

BLOCK = 128 * 1024
"""Elements at a time: parameters, gradient, velocity and step of a block share the cache."""

Rows: TypeAlias = Any
"""(V, d) rows as a numpy array or a torch tensor: their common arithmetic is used."""


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
    """Velocity (V, d), or (0, d) without momentum, and scratch for the step of a block."""

    velocity: Rows
    step: Rows


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
        return SGDState(0 * (x if self.momentum else x[:0]), 0 * x.reshape(-1)[:BLOCK])

    def update(self, x: Rows, g: Rows, state: SGDState) -> None:
        """V <- m v + g; x <- x - lr v, or with Nesterov x - lr (g + m v)."""
        x, g, velocity = x.reshape(-1), g.reshape(-1), state.velocity.reshape(-1)
        multiply = _multiply(x)
        for a in range(0, len(x), BLOCK):
            rows, direction = x[a : a + BLOCK], g[a : a + BLOCK]
            step = state.step[: len(direction)]
            if self.momentum:
                v = velocity[a : a + BLOCK]
                v *= self.momentum
                v += direction
                if self.nesterov:
                    multiply(v, self.momentum, out=step)
                    step += direction
                    direction = step
                else:
                    direction = v
            multiply(direction, self.lr, out=step)
            rows -= step


def _multiply(x: Rows) -> Any:
    """The multiplication into memory that is there, of the library of x."""
    if isinstance(x, np.ndarray):
        return np.multiply
    import torch

    return torch.multiply


OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD}
"""Optimiser by name: the only list."""
