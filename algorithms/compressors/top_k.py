"""Top-k compressor: the k largest elements by absolute value, with their indices.

Stich, Cordonnier, Jaggi: Sparsified SGD with Memory, NeurIPS 2018, Definition 2.2.
Departures: none.

    Q(x) = x if |x| is among the k largest, else 0;  delta >= k/d

The message holds k indices of 4 bytes, then k values. NaN and infinities count as largest.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from algorithms.compressors.protocol import Bytes, Draw, Row

RATIO = {"help": "fraction of the elements that is sent"}
"""Metadata of the option `ratio`."""


def check_ratio(ratio: float) -> None:
    """Raise ValueError if ratio is not in (0, 1]."""
    if not 0 < ratio <= 1:
        raise ValueError(f"ratio must be in (0, 1], got {ratio}")


def element_count(ratio: float, d: int) -> int:
    """Return k, the nearest integer to ratio d, at least one."""
    return max(1, round(ratio * d))


INDEX = np.dtype(np.uint32)


@dataclass(frozen=True)
class TopK:
    """The elements with the largest absolute values, with their indices."""

    ratio: float = field(default=0.1, metadata=RATIO)

    def __post_init__(self) -> None:
        check_ratio(self.ratio)

    def gamma(self, d: int) -> float:
        """Return half of delta."""
        return element_count(self.ratio, d) / d / 2

    def size(self, d: int, dtype: np.dtype[Any]) -> int:
        """Return the bytes of k indices and k values."""
        return element_count(self.ratio, d) * (INDEX.itemsize + dtype.itemsize)

    def pack(self, row: Row, out: Bytes, draw: Draw) -> None:
        """Pack the indices, then the values."""
        k = element_count(self.ratio, len(row))
        indices = np.argpartition(np.abs(row), len(row) - k)[len(row) - k :]  # NaN is sorted last
        out[: k * INDEX.itemsize].view(INDEX)[:] = indices
        out[k * INDEX.itemsize :].view(row.dtype)[:] = row[indices]

    def unpack(self, packed: Bytes, out: Row, draw: Draw) -> None:
        """Set the values at their indices and zero elsewhere."""
        ends = element_count(self.ratio, len(out)) * INDEX.itemsize
        out[:] = 0
        out[packed[:ends].view(INDEX)] = packed[ends:].view(out.dtype)
