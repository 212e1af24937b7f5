"""Ring all-reduce: reduce-scatter, then all-gather, with neighbours only.

Patarasuk, Yuan: Bandwidth optimal all-reduce algorithms, J. Parallel Distrib. Comput. 2009.
Symbols: p ranks, r this rank, d elements, chunk c the c-th of p nearly equal slices.
Departures: none.

    step      0        1        2       reduce-scatter, p = 4: the sum of chunk c travels up the
    rank 0  c0 ->    c3 ->    c2 ->     ring and gains a term at every rank; chunk c ends
    rank 1  c1 ->    c0 ->    c3 ->     complete on rank c - 1. All-gather: the same journey,
    ...                                 copying instead of adding.

Sends 2 (p - 1) messages, 2 (p - 1)/p of the vector, whatever p. Every chunk is added in one fixed
order, so the result is the same to the bit on all ranks.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from algorithms.meter import COPY, WAIT, Meter

if TYPE_CHECKING:
    from mpi4py import MPI


class Ring:
    """Neighbours only: 2(p-1) messages, bandwidth-optimal at every number of ranks."""

    def __init__(
        self,
        comm: MPI.Intracomm,
        d: int,
        dtype: np.dtype[np.floating],
        bounds: list[int],
        meter: Meter,
    ) -> None:
        p, r = comm.size, comm.rank
        self.spans = [(bounds[r], bounds[r + 1])]
        self.parts = [np.zeros(d, dtype)]
        self._comm, self._meter = comm, meter
        self._right, self._left = (r + 1) % p, (r - 1) % p
        edges = [c * d // p for c in range(p + 1)]
        chunks = [self.parts[0][a:b] for a, b in pairwise(edges)]
        self._reduce = [(chunks[(r - k) % p], chunks[(r - k - 1) % p]) for k in range(p - 1)]
        self._gather = [(chunks[(r - k + 1) % p], chunks[(r - k) % p]) for k in range(p - 1)]
        self._mine = chunks[(r + 1) % p]
        self._inbox = np.empty(max(map(len, chunks)), dtype)

    def __call__(self, divisor: int = 1) -> None:
        """Collective: parts[0] becomes the sum over the ranks, over divisor."""
        for sent, grown in self._reduce:
            inbox = self._inbox[: len(grown)]
            self._swap(sent, inbox)
            np.add(grown, inbox, out=grown)
            self._meter.lap(COPY)
        if divisor != 1:
            self._mine /= divisor
            self._meter.lap(COPY)
        for sent, filled in self._gather:
            self._swap(sent, filled)

    def _swap(self, sent: NDArray[np.floating], received: NDArray[np.floating]) -> None:
        self._comm.Sendrecv(sent, self._right, recvbuf=received, source=self._left)
        self._meter.sent(sent.nbytes)
        self._meter.lap(WAIT)

    def close(self) -> None:
        """Nothing to release."""
