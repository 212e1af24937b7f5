"""QSGD compressor: each element's share of the row's norm, randomly rounded to s levels.

Alistarh, Grubic, Li, Tomioka, Vojnovic: QSGD: Communication-Efficient SGD via Gradient
Quantization and Encoding, NIPS 2017, section 3.1; scaled as in Koloskova, Stich, Jaggi:
Decentralized Stochastic Optimization and Gossip Algorithms with Compressed Communication, ICML
2019, section 3.5.
Symbols: s the levels, xi the level of an element, u uniform in [0, 1), tau the variance bound.
Departures: all levels have the same number of bits, while the paper's integer code uses fewer for
small levels, so that a message has the same length every step.

    xi = floor(s |x| / |x|_2 + u),  Q(x) = sign(x) |x|_2 xi / (s tau)
    tau = 1 + min(d / s^2, sqrt(d) / s);  delta = 1 / tau in expectation

Without tau, Q would be unbiased; with tau, it is the contraction that error feedback requires. The
message holds the norm, then s + sign(x) xi, the lowest bits of all elements first. If the norm is
not finite, every element becomes NaN.
"""

from dataclasses import dataclass, field
from math import inf, sqrt
from typing import Any

import numpy as np

from algorithms.compressors.protocol import Bytes, Draw, Row

MOST = 127
"""Maximum number of levels that fit a byte with their sign."""


@dataclass(frozen=True)
class QSGD:
    """Random rounding to few levels of the norm, scaled to be a contraction."""

    levels: int = field(
        default=127, metadata={"help": "levels above zero, s; an element takes the bits of 2 s"}
    )

    def __post_init__(self) -> None:
        if not 1 <= self.levels <= MOST:
            raise ValueError(f"levels must be in [1, {MOST}], got {self.levels}")

    def gamma(self, d: int) -> float:
        """Return half of delta."""
        return 0.5 / self._tau(d)

    def size(self, d: int, dtype: np.dtype[Any]) -> int:
        """Return the bytes of the norm and of d signed levels."""
        return dtype.itemsize + self._bits * ((d + 7) // 8)

    def pack(self, row: Row, out: Bytes, draw: Draw) -> None:
        """Pack the norm, then s + sign(x) xi of every element."""
        s, norm = self.levels, sqrt(np.square(row, dtype=np.float64).sum())
        out[: row.itemsize].view(row.dtype)[0] = norm
        symbols = np.full(len(row), s, np.uint8)
        if 0 < norm < inf:
            xi = np.abs(row) / norm
            xi *= s
            xi = np.minimum(np.floor(xi + draw().random(len(row))), s)
            symbols[:] = s + np.copysign(xi, row)
        for bit, plane in enumerate(out[row.itemsize :].reshape(self._bits, -1)):
            plane[:] = np.packbits(symbols >> bit & 1)

    def unpack(self, packed: Bytes, out: Row, draw: Draw) -> None:
        """Set every element to its share of the norm."""
        d, s = len(out), self.levels
        symbols = np.zeros(d, np.uint8)
        for bit, plane in enumerate(packed[out.itemsize :].reshape(self._bits, -1)):
            symbols |= np.unpackbits(plane, count=d) << bit
        out[:] = symbols
        out -= s
        out *= packed[: out.itemsize].view(out.dtype)[0] * (1 / (s * self._tau(d)))

    def _tau(self, d: int) -> float:
        return 1 + min(d / self.levels**2, sqrt(d) / self.levels)

    @property
    def _bits(self) -> int:
        return (2 * self.levels).bit_length()
