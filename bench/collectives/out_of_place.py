"""MPI_Allreduce from one buffer into another, called like an all-reduce of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from algorithms.collectives.library import cuts
from algorithms.wire.meter import Meter

if TYPE_CHECKING:
    from mpi4py import MPI


class OutOfPlace:
    """MPI's own as the benchmarks of OSU and IMB call it; `library` is in place."""

    def __init__(
        self, comm: MPI.Intracomm, d: int, dtype: np.dtype[Any], bounds: list[int], meter: Meter
    ) -> None:
        self.parts: list[NDArray[Any]] = [np.zeros(d, dtype)]
        """parts[0], (d,): what this rank contributes; a call leaves it as it is."""
        self.sum: NDArray[Any] = np.zeros(d, dtype)
        """(d,) the sum after a call."""
        self._pieces = [(self.parts[0][cut], self.sum[cut]) for cut in cuts(d, dtype)]
        self._reduce = comm.Allreduce

    def __call__(self) -> None:
        """Collective: `sum` becomes the sum over the ranks; what MPI sends nobody counts."""
        for mine, total in self._pieces:
            self._reduce(mine, total)

    def close(self) -> None:
        """Nothing to release."""
