"""Protocol of an all-reduce."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from algorithms.wire.meter import Meter
from algorithms.wire.placement import Placement

if TYPE_CHECKING:
    from mpi4py import MPI


class AllReduce(Protocol):
    """A plan that sums one vector over the ranks: built once, used every step.

    It owns its scratch memory and the memory of the vector. Fill `parts`, call the plan, and read
    `parts[0]` on every rank. `start` and `finish` are the two halves of a call; in between, the
    exchange progresses only in `test`.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        d: int,
        dtype: np.dtype[Any],
        placement: Placement,
        meter: Meter,
    ) -> None:
        """Plan for (d,) vectors that are sums over workers; collective.

        Supports any dtype that NumPy can add. Raises ValueError if these ranks are not supported.
        """

    @property
    def spans(self) -> Sequence[tuple[int, int]]:
        """Ranges [lo, hi) of this rank's workers, one for each part, which holds their sum."""
        ...

    @property
    def parts(self) -> Sequence[NDArray[Any]]:
        """Input sums, (d,) each, one for each span; parts[0] holds the result after a call."""
        ...

    def __call__(self, divisor: int = 1) -> None:
        """Replace parts[0] by the sum of all parts of all ranks, divided by divisor; collective.

        A divisor other than 1 requires a floating-point dtype.
        """
        ...

    def start(self, divisor: int = 1) -> None:
        """Start a call; do not touch the parts until `finish`; collective."""
        ...

    def test(self) -> bool:
        """Progress a started call without blocking; return True if only `finish` remains."""
        ...

    def finish(self) -> None:
        """Complete a call that was started; collective."""
        ...

    def close(self) -> None:
        """Release windows and communicators; collective."""
        ...
