"""One bit an element: its sign, scaled by the mean absolute value of the row.

Karimireddy, Rebjock, Stich, Jaggi: Error Feedback Fixes SignSGD and other Gradient Compression
Schemes, ICML 2019, section 4.
Departures: the row is scaled as a whole, not layer by layer.

    Q(x) = |x|_1 / d sign(x),  zero counting as positive;  delta = |x|_1^2 / (d |x|_2^2) >= 1/d

On the wire: the scale, then a bit an element. NaN or an infinity is in the scale and so comes out
of every element.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from algorithms.compressors.protocol import Bytes, Draw, Row


@dataclass(frozen=True)
class Sign:
    """One bit an element: signs, scaled by the mean absolute value."""

    def gamma(self, d: int) -> float:
        """A half: delta is 2 / pi of normal rows, and less where few elements are large."""
        return 0.5

    def size(self, d: int, dtype: np.dtype[Any]) -> int:
        """Return the bytes of the scale and of d bits."""
        return dtype.itemsize + (d + 7) // 8

    def pack(self, row: Row, out: Bytes, draw: Draw) -> None:
        """Pack the scale, then the signs."""
        out[: row.itemsize].view(row.dtype)[0] = np.abs(row).mean()
        out[row.itemsize :] = np.packbits(row < 0)

    def unpack(self, packed: Bytes, out: Row, draw: Draw) -> None:
        """Set every element to plus or minus the scale."""
        out[:] = np.unpackbits(packed[out.itemsize :], count=len(out))
        out *= -2
        out += 1
        out *= packed[: out.itemsize].view(out.dtype)[0]
