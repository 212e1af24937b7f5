"""The Exchange over MPI: rows between workers for every placement of workers on ranks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from algorithms.collectives import ALLREDUCES
from algorithms.collectives.auto import Auto
from algorithms.exchange.clock import ModelClock, ModelMeter
from algorithms.exchange.means import Means
from algorithms.exchange.plans import Rounds
from algorithms.exchange.rounds import along_links, between_workers, to_links
from algorithms.exchange.shaper import Delays, Shaper
from algorithms.exchange.trouble import Trouble
from algorithms.exchange.window import SharedRows, SharedVector, Window
from algorithms.topologies.mixing import MIXINGS, Mixing
from algorithms.topologies.protocol import Links, Topology
from algorithms.wire.bfloat16 import ENCODED
from algorithms.wire.carrier import Handle
from algorithms.wire.memory import Host
from algorithms.wire.meter import Meter
from algorithms.wire.placement import Placement

if TYPE_CHECKING:
    from mpi4py import MPI

    from algorithms.protocol import Rows

TOPOLOGY_STREAM = 2
"""Stream of the draws of random topologies, apart from others of the same seed."""


class MPIExchange(Host):
    """The Exchange between workers on the ranks of `comm`; see algorithms.protocol.

    workers: their placement, or W, for an even one. encoded: rows of float32 travel as bfloat16.
    Collective to create and to close. Errors: ValueError if W is smaller than the number of ranks,
    or if faults cannot be injected.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        workers: int | Placement,
        *,
        allreduce: str = "recursive_doubling",
        dtype: str = "float32",
        seed: int = 0,
        meter: Meter | None = None,
        trouble: Trouble = Trouble.NONE,
        clock: ModelClock | None = None,
        encoded: bool = False,
    ) -> None:
        if isinstance(workers, int):
            workers = Placement.dealt(workers, comm.size)
        if workers.total < comm.size:
            raise ValueError(
                f"workers must be at least the number of ranks, {comm.size}, got {workers.total}: "
                "every rank hosts one or more"
            )
        self.placement = workers
        self.ids, self.total = workers.positions(comm.rank), workers.total
        self.meter = meter or (ModelMeter(clock) if clock else Meter())
        self.trouble = trouble
        self._comm, self.seed = comm.Dup(), seed
        self.clock = clock
        """The model clock; None on the wall clock."""
        wall = Shaper(comm, trouble.link, workers) if trouble.link and not clock else None
        self._shaper: Delays | None = clock or wall
        travels = ENCODED if encoded else np.dtype(dtype)
        self._allreduce, self._itemsize = ALLREDUCES[allreduce], travels.itemsize
        meter, shaper = self.meter, self._shaper
        self._means = Means(
            self._comm, workers, allreduce, dtype=travels, meter=meter, shaper=shaper
        )
        self._rounds = Rounds(
            self._comm,
            workers,
            meter=self.meter,
            trouble=trouble,
            shaper=self._shaper,
            encoded=encoded,
        )
        self._windows: list[Window] = []
        self._schedule: dict[tuple[Topology, int], Links] = {}
        self._mixings: dict[tuple[Topology, str, int], Mixing] = {}

    @property
    def chosen(self) -> dict[int, Auto]:
        """Choice of the all-reduce `auto` by the bytes of a vector."""
        return self._means.chosen

    @property
    def rounds_started(self) -> int:
        """Number of rounds started; lost messages of the next round are drawn by it."""
        return self._rounds.started

    @rounds_started.setter
    def rounds_started(self, rounds: int) -> None:
        self._rounds.started = rounds

    def reliable(self) -> AbstractContextManager[None]:
        """Return a context in which no message is lost."""
        return self._rounds.reliable()

    def rows(self, d: int) -> Rows:
        """Return zeroed (V, d) rows; with one worker a rank, the memory of the all-reduce."""
        self._shape(d)
        return self._means.rows(d)

    def prepare(self, d: int) -> None:
        """Create the plan for the mean of (V, d) rows in other memory; collective."""
        self._shape(d)
        self._means.prepare(d)

    def _shape(self, d: int) -> None:
        if self._shaper:
            self._shaper.prepare(self._allreduce, d, self.total, self._itemsize)

    def mean(self, rows: Rows, out: NDArray[np.floating] | None = None, *, group: int = 0) -> None:
        """Replace every row, or set out, (d,), to the mean over all W workers; collective.

        With `group`, every row becomes the mean over its `group` consecutive workers.
        """
        self._means.mean(rows, out, group=group)

    def start_mean(self, rows: Rows) -> Handle:
        """Start a mean over all workers; leave rows alone until `finish`; collective.

        Any number may be in flight; all ranks start and finish them in the same order.
        """
        return self._means.start_mean(rows)

    def rng(self, stream: int, *numbers: int) -> np.random.Generator:
        """Return the generator of random numbers of (seed, stream, numbers)."""
        return np.random.default_rng((self.seed, stream, *numbers))

    def links(self, topology: Topology, k: int) -> Links:
        """Return the links of round k: a function of (topology, W, k, seed)."""
        period = topology.period(self.total)
        if period is None:
            return topology.links(self.total, k, self.rng(TOPOLOGY_STREAM, k))
        key = (topology, k % period)
        if key not in self._schedule:
            graph = topology.links(self.total, k % period, self.rng(TOPOLOGY_STREAM, k % period))
            self._schedule[key] = replace(graph, again=True)
        return self._schedule[key]

    def mixing(self, topology: Topology, rule: str, k: int) -> Mixing:
        """Return the links of round k with the weights of a rule of `topologies.mixing.MIXINGS`."""
        period = topology.period(self.total)
        if period is None:
            return MIXINGS[rule](self.links(topology, k))
        key = (topology, rule, k % period)
        if key not in self._mixings:
            self._mixings[key] = MIXINGS[rule](self.links(topology, k))
        return self._mixings[key]

    def pull(self, rows: Rows, links: Links, out: Rows) -> None:
        """Set out[i] to the sum of the rows of the in-neighbours of i; collective."""
        self.start_pull(rows, links, out).finish()

    def start_pull(self, rows: Rows, links: Links, out: Rows) -> Handle:
        """Start a pull; leave rows and out alone until `finish`; collective."""
        return self._rounds.start(between_workers, links, rows, out)

    def mix(self, rows: Rows, mixing: Mixing, out: Rows) -> None:
        """Set out[i] to own[i] rows[i] + sum_j weight[i, j] rows[j]; collective."""
        self.start_mix(rows, mixing, out).finish()

    def start_mix(self, rows: Rows, mixing: Mixing, out: Rows) -> Handle:
        """Start a mix; leave rows and out alone until `finish`; collective."""
        return self._rounds.start(between_workers, mixing, rows, out)

    def deliver(self, rows: NDArray[Any], links: Links, out: NDArray[Any]) -> None:
        """Set out[e] to the row of the sender of link e, for all links into this rank's workers.

        Collective; see algorithms.protocol.
        """
        self.start_deliver(rows, links, out).finish()

    def start_deliver(self, rows: NDArray[Any], links: Links, out: NDArray[Any]) -> Handle:
        """Start a delivery; leave rows and out alone until `finish`; collective."""
        return self._rounds.start(to_links, links, rows, out)

    def carry(self, rows: NDArray[Any], links: Links, out: NDArray[Any]) -> None:
        """Send a row of its own along every link: rows by outgoing, out by incoming link.

        Collective; see algorithms.protocol.
        """
        self._rounds.start(along_links, links, rows, out).finish()

    @property
    def comm(self) -> MPI.Intracomm:
        """Communicator of the ranks that host the workers, of this exchange alone."""
        return self._comm

    def shared_vector(self, start: NDArray[np.floating]) -> SharedVector:
        """Return a vector that all workers change without waiting, from start, (d,); collective."""
        return SharedVector(self._window(start.dtype), start, self._comm.rank, self._comm.size)

    def shared_rows(self, start: Rows) -> SharedRows:
        """Return rows that all workers can average with theirs, from start, (V, d); collective."""
        return SharedRows(self._window(start.dtype), start, self.placement, self._comm.rank)

    def close(self) -> None:
        """Release windows and communicators; collective. Rows must not be used afterwards."""
        self._means.close()
        self._rounds.close()
        for window in self._windows:
            window.close()
        if self._shaper:
            self._shaper.close()
        self._comm.Free()

    def _window(self, dtype: np.dtype[Any]) -> Callable[[int], Window]:
        def make(n: int) -> Window:
            window = Window(self._comm, n, dtype, self.meter, self._shaper)
            self._windows.append(window)
            return window

        return make
