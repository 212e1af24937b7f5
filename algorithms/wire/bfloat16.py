"""bfloat16 for rows that travel: float32 without its last 16 bits, rounded to nearest even.

numpy has no such type. An encoded element is the upper half of a float32 as a uint16; a sum of two
encoded elements is rounded once, as the same sum in torch.bfloat16.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

ENCODED = np.dtype(np.uint16)
"""Type of encoded elements; no other elements that are added have this type."""
BLOCK = 2**16
"""Elements encoded at once, so that temporary arrays stay in the cache."""
HALF, ODD, NAN = np.uint32(0x7FFF), np.uint32(1), np.uint16(0x7FC0)


def encode(x: NDArray[Any], out: NDArray[Any]) -> None:
    """Set out, (n,) uint16, to the rounded elements of x, (n,) float32, contiguous.

    NaN stays NaN; elements nearer to 2^128 than to the largest bfloat16 become infinite.
    """
    bits = x.view(np.uint32)
    for a in range(0, len(x), BLOCK):
        part = bits[a : a + BLOCK]
        rounded = (part >> 16) & ODD
        rounded += part
        rounded += HALF
        rounded >>= 16
        out[a : a + BLOCK] = rounded
        wrong = np.isnan(x[a : a + BLOCK])
        if wrong.any():
            out[a : a + BLOCK][wrong] = NAN


def decode(x: NDArray[Any], out: NDArray[Any]) -> None:
    """Set out, (n,) float32, contiguous, to the elements of x, (n,) uint16."""
    np.left_shift(x, 16, out=out.view(np.uint32), dtype=np.uint32)


def decoded(x: NDArray[Any]) -> NDArray[np.float32]:
    """Return the elements of x, (...) uint16, as float32."""
    out = np.empty(x.shape, np.float32)
    decode(x.reshape(-1), out.reshape(-1))
    return out


def round_in_place(x: NDArray[Any]) -> None:
    """Round x, (...) float32, contiguous, to the nearest bfloat16."""
    flat = x.reshape(-1)
    encoded = np.empty(len(flat), ENCODED)
    encode(flat, encoded)
    decode(encoded, flat)


def add(into: NDArray[Any], other: NDArray[Any]) -> None:
    """Add other to into, (n,) uint16 each, rounding every sum."""
    for a in range(0, len(into), BLOCK):
        part = into[a : a + BLOCK]
        total = decoded(part)
        total += decoded(other[a : a + BLOCK])
        encode(total, part)


def error2(x: NDArray[Any]) -> tuple[float, float]:
    """Return the sums of squares of the rounding error of x, (..., d) float32, and of x."""
    rounded = x.copy()
    round_in_place(rounded)
    difference = rounded.astype(np.float64) - x
    return float((difference**2).sum()), float((x.astype(np.float64) ** 2).sum())


class Plan(Protocol):
    """An all-reduce by messages; see algorithms.collectives.protocol."""

    @property
    def parts(self) -> Sequence[NDArray[Any]]:
        """Input sums; parts[0] holds the result."""

    @property
    def spans(self) -> Sequence[tuple[int, int]]:
        """Ranges of workers, one for each part."""

    def start(self, divisor: int = 1) -> None:
        """Start a call."""

    def test(self) -> bool:
        """Process the messages that have arrived."""

    def finish(self) -> None:
        """Complete a call."""

    def close(self) -> None:
        """Release the plan."""


class Encoded:
    """All-reduce of float32 vectors by an all-reduce of encoded vectors, with the same interface.

    plan: all-reduce of elements of type ENCODED.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan, self.spans = plan, plan.spans
        self.parts = [np.zeros(len(part), np.float32) for part in plan.parts]

    def __call__(self, divisor: int = 1) -> None:
        """Replace parts[0] by the sum over the ranks, divided by the divisor; collective."""
        self.start(divisor)
        self.finish()

    def start(self, divisor: int = 1) -> None:
        """Start a call; leave the parts alone until `finish`; collective."""
        for part, encoded in zip(self.parts, self._plan.parts, strict=True):
            encode(part, encoded)
        self._plan.start(divisor)

    def test(self) -> bool:
        """Process the messages that have arrived without blocking; return True at the end."""
        return self._plan.test()

    def finish(self) -> None:
        """Complete a call that was started."""
        self._plan.finish()
        decode(self._plan.parts[0], self.parts[0])

    def close(self) -> None:
        """Release the plan; collective."""
        self._plan.close()
