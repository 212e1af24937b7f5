"""The contract of an all-reduce."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from algorithms.wire.meter import Meter

if TYPE_CHECKING:
    from mpi4py import MPI


class AllReduce(Protocol):
    """A plan that sums one vector over the ranks: built once, used every step.

    It owns its scratch and, where that is what makes it fast, the memory of the vector. Fill
    `parts`, call, and read `parts[0]` on every rank. `start` and `finish` are the two halves of a
    call; in between MPI moves only what `test` lets it move.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        d: int,
        dtype: np.dtype[Any],
        bounds: list[int],
        meter: Meter,
    ) -> None:
        """Plan for (d,) vectors; rank r hosts the workers [bounds[r], bounds[r + 1]); collective.

        Any dtype that numpy can add. Raises ValueError where these ranks cannot be served.
        """

    @property
    def spans(self) -> Sequence[tuple[int, int]]:
        """The runs [lo, hi) of this rank's workers whose sums it wants, one a part."""
        ...

    @property
    def parts(self) -> Sequence[NDArray[Any]]:
        """(d,) each: where those sums go. parts[0] holds the result after a call."""
        ...

    def __call__(self, divisor: int = 1) -> None:
        """Replace parts[0] by the sum of all parts of all ranks, over divisor; collective.

        A divisor other than 1 is for floating types.
        """
        ...

    def start(self, divisor: int = 1) -> None:
        """Begin a call; leave the parts alone until `finish`; collective."""
        ...

    def test(self) -> bool:
        """Let a call that was started go on, without waiting; return whether it has come to its
        end as far as it can without `finish`.
        """
        ...

    def finish(self) -> None:
        """Complete a call that was started; collective."""
        ...

    def close(self) -> None:
        """Release what the operating system lent; collective."""
        ...
