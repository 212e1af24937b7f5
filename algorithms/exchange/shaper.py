"""Delivery times: every message carries when it may be used, and its receiver sleeps until then.

Each worker, virtual ones too, has a link out of its own: messages leave it one after the other,
each nbytes / bandwidth long, and arrive a latency after their last byte. Receivers take any
number at once (no incast). All waits sleep, so a model of a slow network costs no core. Clocks
must be shared: all ranks on one host.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from algorithms.exchange.routes import Routes
from algorithms.exchange.trouble import Link, sleep_until

if TYPE_CHECKING:
    from mpi4py import MPI

NEVER = np.iinfo(np.int64).min


class Shaper:
    """The links out of the workers of one rank; see Exchange.trouble. Collective to build.

    Errors: ValueError where ranks are on several hosts.
    """

    def __init__(self, comm: MPI.Intracomm, link: Link, bounds: list[int]) -> None:
        hosts = set(comm.allgather(socket.gethostname()))
        if len(hosts) > 1:
            raise ValueError(
                f"--link needs one clock, but the ranks are on {len(hosts)} hosts: there the real "
                "network can be slowed instead, or all workers can be virtual ones of one host"
            )
        self._comm, self.link, self._bounds = comm.Dup(), link, bounds
        self._busy_until = np.zeros(bounds[comm.rank + 1] - bounds[comm.rank])
        self._free = 0.0
        """When the last collective leaves the links to the next."""

    def send(self, routes: Routes, nbytes: int) -> Callable[[], None]:
        """Note that all rows of the routes leave now, nbytes each; return what waits for them."""
        rank, lo = self._comm.rank, self._bounds[self._comm.rank]
        giver = np.searchsorted(self._bounds, routes.sender, side="right") - 1
        taker = np.searchsorted(self._bounds, routes.receiver, side="right") - 1
        mine, to_me = giver == rank, taker == rank
        sender, sending = routes.sender[mine] - lo, self.link.sending_ns(nbytes)
        count = np.bincount(sender, minlength=len(self._busy_until))
        before = np.empty_like(sender)
        before[np.argsort(sender, kind="stable")] = np.arange(len(sender)) - np.repeat(
            np.cumsum(count) - count, count
        )
        free = np.maximum(self._busy_until, time.perf_counter_ns())
        arrives = free[sender] + (before + 1) * sending + self.link.latency_ns
        self._busy_until = free + count * sending

        requests, stamps = [], [np.array([NEVER])]
        for q in np.unique(giver[to_me & ~mine]).tolist():
            stamps.append(np.empty(1, np.int64))
            requests.append(self._comm.Irecv(stamps[-1], source=q))
        for q in np.unique(taker[mine]).tolist():
            latest = np.array([arrives[taker[mine] == q].max()], np.int64)
            if q == rank:
                stamps.append(latest)
            else:
                requests.append(self._comm.Isend(latest, dest=q))

        def due() -> None:
            if requests:
                requests[0].Waitall(requests)
            sleep_until(max(int(stamp[0]) for stamp in stamps))

        return due

    def collective(self, needs_ns: float, sending_ns: float) -> Callable[[], None]:
        """Note that a collective starts here; return what waits for its end.

        It needs so long once all have started, and keeps the links busy for a part of it; until
        then the next one waits. They are waited for in the order in which they start.
        """
        from mpi4py import MPI

        latest = np.array([time.perf_counter_ns()], np.int64)
        request = self._comm.Iallreduce(MPI.IN_PLACE, latest, op=MPI.MAX)

        def due() -> None:
            request.Wait()
            begins = max(float(latest[0]), self._free)
            self._free = begins + sending_ns
            sleep_until(int(begins + needs_ns))

        return due

    def alone(self, nbytes: int) -> None:
        """Sleep as long as nbytes to or from another worker's memory take, there and back."""
        time.sleep((2 * self.link.latency_ns + self.link.sending_ns(nbytes)) / 1e9)

    def close(self) -> None:
        """Release the communicator; collective."""
        self._comm.Free()
