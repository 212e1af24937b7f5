"""Sign compressor: one bit per element, scaled by the mean absolute value of the row.

Karimireddy, Rebjock, Stich, Jaggi: Error Feedback Fixes SignSGD and other Gradient Compression
Schemes, ICML 2019, section 4.
Departures: the row is scaled as a whole, not layer by layer.

    Q(x) = |x|_1 / d sign(x),  with sign(0) = 1;  delta = |x|_1^2 / (d |x|_2^2) >= 1/d

The message holds the scale, then one bit per element. A NaN or an infinity propagates through the
scale to every element.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from algorithms.compressors.protocol import Bytes, Draw, Row


@dataclass(frozen=True)
class Sign:
    """One bit per element: the sign, scaled by the mean absolute value."""

    def gamma(self, d: int) -> float:
        """Return 0.5: delta is 2 / pi for normal rows, and less if few elements are large."""
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
