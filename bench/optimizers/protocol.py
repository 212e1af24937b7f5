"""What an optimiser must tell: its state, its step, and where its decay belongs."""

from collections.abc import Sequence
from typing import Any, Protocol

from algorithms.layers import Layer
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
