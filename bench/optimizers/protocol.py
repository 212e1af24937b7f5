"""What an optimiser must tell: its state, its step, and where its decay belongs.

Checks of option values: each raises ValueError with the value and the rule.
"""

from collections.abc import Sequence
from math import inf
from typing import Any, Protocol

from algorithms.protocol import Layer
from bench.optimizers.blocks import Rows


class Optimizer(Protocol):
    """A frozen dataclass: its fields are its options."""

    @property
    def l2(self) -> float:
        """Times x, what every worker adds to its g beforehand; 0 where `update` decays x itself."""
        ...

    def init(self, x: Rows, layers: Sequence[Layer]) -> Any:
        """The State for (V, d) parameters made of these layers; allocates every buffer.

        A plain dataclass of arrays, of the library of x or of numpy, and of numbers.
        """
        ...

    def update(self, x: Rows, g: Rows, state: Any) -> None:
        """One step of every row of x, (V, d), along g, (V, d), in place; g is kept."""
        ...


def positive(name: str, value: float) -> None:
    """Refuse what is not above 0 and finite."""
    if not 0 < value < inf:
        raise ValueError(f"{name} must be > 0 and finite, got {value}")


def not_negative(name: str, value: float) -> None:
    """Refuse what is below 0 or not finite."""
    if not 0 <= value < inf:
        raise ValueError(f"{name} must be >= 0 and finite, got {value}")


def fraction(name: str, value: float) -> None:
    """Refuse what is outside [0, 1)."""
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be in [0, 1), got {value}")
