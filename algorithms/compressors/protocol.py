"""The contract of a compressor: a row becomes few bytes, and those a row again.

Symbols: Q(x) what is left of x, delta in (0, 1] how good it is: |Q(x) - x|^2 <= (1 - delta) |x|^2,
in expectation where Q draws. That is all that error feedback needs; Q need not be unbiased.
"""

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Row: TypeAlias = NDArray[np.floating]
"""(d,) float32 or float64, contiguous."""
Bytes: TypeAlias = NDArray[np.uint8]
Draw: TypeAlias = Callable[[], np.random.Generator]
"""A generator of this row's own, at its beginning at every call: both ends draw the same."""


class Compressor(Protocol):
    """A frozen dataclass whose fields are its options.

    A row that holds NaN or an infinity must not come out finite where Q takes notice of it, so
    that who diverges is seen to.
    """

    def gamma(self, d: int) -> float:
        """Return a stable consensus step size of CHOCO-SGD for rows of d elements."""
        ...

    def size(self, d: int, dtype: np.dtype[Any]) -> int:
        """Return the number of bytes of a packed row of d elements."""
        ...

    def pack(self, row: Row, out: Bytes, draw: Draw) -> None:
        """Fill out, (size,) uint8, from the row, which stays as it is."""
        ...

    def unpack(self, packed: Bytes, out: Row, draw: Draw) -> None:
        """Set out to Q(row), from what pack made of it."""
        ...
