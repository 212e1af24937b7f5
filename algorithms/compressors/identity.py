"""Identity compressor: every byte of a row is sent; delta = 1."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from algorithms.compressors.protocol import Bytes, Draw, Row


@dataclass(frozen=True)
class Identity:
    """No compression: the row is sent unchanged."""

    def gamma(self, d: int) -> float:
        """Return 1: plain gossip."""
        return 1.0

    def size(self, d: int, dtype: np.dtype[Any]) -> int:
        """Return the number of bytes of the row."""
        return d * dtype.itemsize

    def pack(self, row: Row, out: Bytes, draw: Draw) -> None:
        """Copy the bytes of the row."""
        out[:] = row.view(np.uint8)

    def unpack(self, packed: Bytes, out: Row, draw: Draw) -> None:
        """Copy the bytes back."""
        out.view(np.uint8)[:] = packed
