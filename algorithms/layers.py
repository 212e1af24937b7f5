"""Where the parameter tensors of a model lie in a row."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

Ready: TypeAlias = Callable[[int, int], None]
"""Called with lo, hi as soon as g[:, lo:hi] is final."""


@dataclass(frozen=True)
class Layer:
    """One parameter tensor: the elements [start, stop) of every row, of this shape."""

    start: int
    stop: int
    shape: tuple[int, ...]


def laid_out(shapes: Iterable[tuple[int, ...]]) -> list[Layer]:
    """The layers of tensors of these shapes that lie one after the other."""
    layers: list[Layer] = []
    start = 0
    for shape in shapes:
        layers.append(Layer(start, start + prod(shape), tuple(shape)))
        start = layers[-1].stop
    return layers
