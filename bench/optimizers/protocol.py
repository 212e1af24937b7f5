"""Contract of a base optimiser, and checks of its options."""

from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import Any, Protocol, runtime_checkable

from algorithms.protocol import Layer
from bench.optimizers.blocks import Rows


class Optimizer(Protocol):
    """A frozen dataclass; its fields are its options."""

    @property
    def l2(self) -> float:
        """Return the multiple of x added to every worker's g; 0 if `update` decays x itself."""
        ...

    def init(self, x: Rows, layers: Sequence[Layer]) -> Any:
        """Allocate the State for (V, d) parameters of these layers.

        A plain dataclass of arrays, of the library of x or of numpy, and of numbers.
        """
        ...

    def update(self, x: Rows, g: Rows, state: Any) -> None:
        """Take one step of every row of x, (V, d), along g, (V, d), in place; g is not modified."""
        ...


@runtime_checkable
class Elementwise(Optimizer, Protocol):
    """Optimizer that treats every element alike, so that `update` also takes parts of the rows."""

    def parts(self, state: Any, views: Callable[[Rows], Sequence[Rows]]) -> Iterable[Any]:
        """Return the State of each of some parts; views(rows): these parts of (V, d) rows."""
        ...


def positive(name: str, value: float) -> None:
    """Refuse numbers that are not > 0 and finite. Errors: ValueError with value and rule."""
    if not 0 < value < inf:
        raise ValueError(f"{name} must be > 0 and finite, got {value}")


def not_negative(name: str, value: float) -> None:
    """Refuse numbers that are not >= 0 and finite. Errors: ValueError with value and rule."""
    if not 0 <= value < inf:
        raise ValueError(f"{name} must be >= 0 and finite, got {value}")


def fraction(name: str, value: float) -> None:
    """Refuse numbers outside [0, 1). Errors: ValueError with value and rule."""
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be in [0, 1), got {value}")
