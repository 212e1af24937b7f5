"""Random-k compressor: k random elements, of which only the values are sent.

Stich, Cordonnier, Jaggi: Sparsified SGD with Memory, NeurIPS 2018, Definition 2.2.
Departures: none; the values are not scaled by d/k, so Q shrinks and is biased.

    Q(x) = x at k random indices without replacement, else 0;  delta = k/d in expectation

The message holds k values; both ends draw the same indices. Q does not detect a NaN outside them.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algorithms.compressors.protocol import Bytes, Draw, Row
from algorithms.compressors.top_k import RATIO, check_ratio, element_count


@dataclass(frozen=True)
class RandomK:
    """Random elements; their indices are drawn at both ends and not sent."""

    ratio: float = field(default=0.1, metadata=RATIO)

    def __post_init__(self) -> None:
        check_ratio(self.ratio)

    def gamma(self, d: int) -> float:
        """Return half of delta."""
        return element_count(self.ratio, d) / d / 2

    def size(self, d: int, dtype: np.dtype[Any]) -> int:
        """Return the bytes of k values."""
        return element_count(self.ratio, d) * dtype.itemsize

    def pack(self, row: Row, out: Bytes, draw: Draw) -> None:
        """Pack the values."""
        out.view(row.dtype)[:] = row[self._indices(len(row), draw)]

    def unpack(self, packed: Bytes, out: Row, draw: Draw) -> None:
        """Set the values at their indices and zero elsewhere."""
        out[:] = 0
        out[self._indices(len(out), draw)] = packed.view(out.dtype)

    def _indices(self, d: int, draw: Draw) -> NDArray[np.int64]:
        return draw().choice(d, element_count(self.ratio, d), replace=False, shuffle=False)
