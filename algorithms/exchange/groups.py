"""Means over groups of consecutive workers, on one rank or across several."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from algorithms.wire.bfloat16 import ENCODED, round_in_place
from algorithms.wire.carrier import divide_in_place
from algorithms.wire.meter import COPY, Meter
from algorithms.wire.placement import Placement
from algorithms.wire.sums import TreeSum

if TYPE_CHECKING:
    from mpi4py import MPI

    from algorithms.protocol import Rows


class AcrossRanks(Protocol):
    """Mean of (V, d) rows over the workers of several ranks; collective to call and to close."""

    def __call__(self, rows: Rows, out: NDArray[np.floating]) -> None:
        """Set every row of out, (V, d), to the mean of rows over all workers."""

    def close(self) -> None:
        """Release the plan."""


Planner = Callable[["MPI.Intracomm", int, Placement], AcrossRanks]
"""Factory of means: (comm, d, placement); collective over comm."""


class GroupAverage:
    """Mean over each group of `size` consecutive workers; the last group may be smaller.

    A group on one rank needs no message. Groups that span ranks have a communicator each. A rank is
    in at most two neighbouring ones, and even groups go before odd ones: ranks never wait in a
    cycle. Collective to create, to call and to close. dtype: of what travels; see Means.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        placement: Placement,
        size: int,
        d: int,
        *,
        dtype: np.dtype[Any],
        planner: Planner,
        meter: Meter,
    ) -> None:
        from mpi4py import MPI

        self._meter, total, bounds = meter, placement.total, placement.bounds
        lo, hi = placement.span(comm.rank)
        self._here: list[tuple[slice, TreeSum]] = []
        self._across: list[tuple[slice, AcrossRanks]] = []
        self._comms: list[MPI.Intracomm] = []
        self._encoded, self._row_bytes = dtype == ENCODED, d * dtype.itemsize
        dtype = np.dtype(np.float32) if self._encoded else dtype
        self._sum = np.empty(d, dtype)
        spanning, reason = [], None
        for first in range(0, total, size):
            last = min(first + size, total)
            hosts = range(placement.rank_of(first), placement.rank_of(last - 1) + 1)
            if len(hosts) > 1:
                spanning.append((first, last, hosts))
            elif comm.rank in hosts:
                inside_one = (0, last - first)
                add_up = TreeSum(last - first, inside_one, d, dtype, rounded=self._encoded)
                self._here.append((slice(first - lo, last - lo), add_up))
        for parity in (0, 1):
            own = next((x for x in spanning[parity::2] if comm.rank in x[2]), None)
            split = comm.Split(own[0] if own else MPI.UNDEFINED, comm.rank)
            if own is None:
                continue
            assert isinstance(split, MPI.Intracomm)
            first, last, hosts = own
            inside = Placement((*(max(bounds[r], first) - first for r in hosts), last - first))
            self._comms.append(split)
            rows = slice(max(first, lo) - lo, min(last, hi) - lo)
            try:
                self._across.append((rows, planner(split, d, inside)))
            except ValueError as error:
                reason = error
        if failure := next(filter(None, comm.allgather(reason)), None):
            raise failure

    def __call__(self, rows: Rows) -> None:
        """Replace every row, (V, d), by the mean over its group."""
        for members, add_up in self._here:
            n = members.stop - members.start
            add_up(rows[members], self._sum)
            divide_in_place(self._sum, n)
            if self._encoded:
                round_in_place(self._sum)
            rows[members] = self._sum
            self._meter.bytes_copied += 2 * (n - 1) * self._row_bytes
        self._meter.lap(COPY)
        for members, average in self._across:
            average(rows[members], rows[members])

    def close(self) -> None:
        """Release plans and communicators; collective."""
        for _, average in self._across:
            average.close()
        for comm in self._comms:
            comm.Free()
        self._across, self._comms = [], []
