"""k elements at random, as values alone: both ends draw the same places.

Stich, Cordonnier, Jaggi: Sparsified SGD with Memory, NeurIPS 2018, Definition 2.2.
Departures: none; the values are not scaled by d/k, so Q shrinks and is biased.

    Q(x) = x in k places drawn without replacement, else 0;  delta = k/d in expectation

On the wire: k values. Of a NaN outside these places Q knows nothing.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algorithms.compressors.protocol import Bytes, Draw, Row
from algorithms.compressors.top_k import RATIO, check_ratio, number_kept


@dataclass(frozen=True)
class RandomK:
    """Elements at random, whose places need not travel."""

    ratio: float = field(default=0.1, metadata=RATIO)

    def __post_init__(self) -> None:
        check_ratio(self.ratio)

    def gamma(self, d: int) -> float:
        """Return half of delta."""
        return number_kept(self.ratio, d) / d / 2

    def size(self, d: int, dtype: np.dtype[Any]) -> int:
        """Return the bytes of k values."""
        return number_kept(self.ratio, d) * dtype.itemsize

    def pack(self, row: Row, out: Bytes, draw: Draw) -> None:
        """Pack the values."""
        out.view(row.dtype)[:] = row[self._places(len(row), draw)]

    def unpack(self, packed: Bytes, out: Row, draw: Draw) -> None:
        """Set the values in their places and zero elsewhere."""
        out[:] = 0
        out[self._places(len(out), draw)] = packed.view(out.dtype)

    def _places(self, d: int, draw: Draw) -> NDArray[np.int64]:
        return draw().choice(d, number_kept(self.ratio, d), replace=False, shuffle=False)
