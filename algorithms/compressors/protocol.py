"""Protocol of a compressor, which packs a row into few bytes and unpacks them.

Symbols: Q(x) the row after compression, delta in (0, 1] its quality:
|Q(x) - x|^2 <= (1 - delta) |x|^2, in expectation if Q is random. Error feedback requires nothing
else; Q need not be unbiased.
"""

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Row: TypeAlias = NDArray[np.floating]
"""(d,) float32 or float64, contiguous."""
Bytes: TypeAlias = NDArray[np.uint8]
Draw: TypeAlias = Callable[[], np.random.Generator]
"""Return a generator in the initial state of this row, so that both ends draw the same numbers."""


class Compressor(Protocol):
    """A frozen dataclass whose fields are its options.

    If an element that Q reads is NaN or infinite, Q(x) must not be finite, so that divergence
    stays visible.
    """

    def gamma(self, d: int) -> float:
        """Return a stable consensus step size of CHOCO-SGD for rows of d elements."""
        ...

    def size(self, d: int, dtype: np.dtype[Any]) -> int:
        """Return the number of bytes of a packed row of d elements."""
        ...

    def pack(self, row: Row, out: Bytes, draw: Draw) -> None:
        """Fill out, (size,) uint8, from the row, which is not changed."""
        ...

    def unpack(self, packed: Bytes, out: Row, draw: Draw) -> None:
        """Set out, (d,), to Q(row) from the packed row, (size,) uint8."""
        ...
