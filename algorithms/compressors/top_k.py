"""The k largest elements by absolute value, as values and places.

Stich, Cordonnier, Jaggi: Sparsified SGD with Memory, NeurIPS 2018, Definition 2.2.
Departures: none.

    Q(x) = x where |x| is among the k largest, else 0;  delta >= k/d

On the wire: k places of 4 bytes, then k values. NaN and infinities count as largest.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from algorithms.compressors.protocol import Bytes, Draw, Row

RATIO = {"help": "share of the elements that is kept"}
"""Metadata of the option."""


def check_ratio(ratio: float) -> None:
    """Raise ValueError where a share is none."""
    if not 0 < ratio <= 1:
        raise ValueError(f"ratio must be in (0, 1], got {ratio}")


def number_kept(ratio: float, d: int) -> int:
    """k, the share of d elements that is nearest, one at least."""
    return max(1, round(ratio * d))


PLACE = np.dtype(np.uint32)


@dataclass(frozen=True)
class TopK:
    """The elements that are largest by absolute value."""

    ratio: float = field(default=0.1, metadata=RATIO)

    def __post_init__(self) -> None:
        check_ratio(self.ratio)

    def gamma(self, d: int) -> float:
        """Return half of delta."""
        return number_kept(self.ratio, d) / d / 2

    def size(self, d: int, dtype: np.dtype[Any]) -> int:
        """Return the bytes of k places and k values."""
        return number_kept(self.ratio, d) * (PLACE.itemsize + dtype.itemsize)

    def pack(self, row: Row, out: Bytes, draw: Draw) -> None:
        """Pack the places, then the values."""
        k = number_kept(self.ratio, len(row))
        places = np.argpartition(np.abs(row), len(row) - k)[len(row) - k :]  # NaN goes last
        out[: k * PLACE.itemsize].view(PLACE)[:] = places
        out[k * PLACE.itemsize :].view(row.dtype)[:] = row[places]

    def unpack(self, packed: Bytes, out: Row, draw: Draw) -> None:
        """Set the values in their places and zero elsewhere."""
        ends = number_kept(self.ratio, len(out)) * PLACE.itemsize
        out[:] = 0
        out[packed[:ends].view(PLACE)] = packed[ends:].view(out.dtype)
