"""Models of a size that a user names: the width at which a model has so many parameters."""

from collections.abc import Callable

WIDEST = 2**27
"""A unit has one parameter at least: any model can have 10^8 of them."""


def width_for(parameters: int, count: Callable[[int], int]) -> int:
    """The smallest width at which a model has at least so many parameters.

    count(width): parameters of the model, growing with the width. Errors: ValueError where even
    the widest has fewer.
    """
    if parameters > count(WIDEST):
        raise ValueError(f"parameters must be at most {count(WIDEST):,}, got {parameters:,}")
    low, high = 1, WIDEST
    while low < high:
        middle = (low + high) // 2
        if count(middle) >= parameters:
            high = middle
        else:
            low = middle + 1
    return low


KERNEL, STRIDE = 5, 2


def side(pixels: int) -> int:
    """Height or width after one convolution; a border of zeros keeps half of it."""
    return (pixels + 2 * (KERNEL // 2) - KERNEL) // STRIDE + 1
