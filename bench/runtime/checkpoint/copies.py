"""Copies of a training in the memory of its ranks: the own part, and that of the rank before.

Rank q holds its part of the state and sends it to its buddy, rank q + 1. After the death of ranks,
the newest copy of which every part has a holder among the survivors is restored as a checkpoint is:
sharded arrays are dealt to the ranks that are left.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from algorithms.wire.carrier import MOST_BYTES
from algorithms.wire.waiting import wait
from bench.runtime.checkpoint.store import Manifest

if TYPE_CHECKING:
    from mpi4py import MPI

Arrays: TypeAlias = Mapping[str, NDArray[Any]]
Pieces: TypeAlias = Mapping[int, Sequence[tuple[str, slice, slice]]]
"""Path of an array, elements of the former part, and their place in the new one, by former rank."""
Values: TypeAlias = Mapping[int, Sequence[NDArray[Any]]]
"""Values of the pieces of each former rank."""

TAG = 11
SHARE = 50
"""Least time of the steps between two copies over the time of a copy: copies take 2 % at most."""
LEAST_PAUSE_NS = 20_000_000
"""Least time of the steps between two copies."""


@dataclass
class Copy:
    """One copy, as far as this rank holds it."""

    manifest: Manifest
    parts: dict[int, Arrays]
    """Arrays by path of the former ranks of which this rank holds the part."""
    holders: Mapping[int, int] = field(default_factory=dict)
    """Rank that serves the part of each former rank; known after a death."""

    def __str__(self) -> str:
        return f"the copy in memory of step {self.manifest.step}"

    def read(self, comm: MPI.Intracomm, pieces: Pieces) -> Values:
        """Return pieces of the parts of former ranks, from their holders; collective."""
        requests: list[dict[int, list[tuple[str, slice]]]] = [{} for _ in range(comm.size)]
        for then, some in pieces.items():
            requests[self.holders[then]][then] = [(path, source) for path, source, _ in some]
        replies = [
            {then: [self.parts[then][path][span] for path, span in some] for then, some in x}
            for x in (request.items() for request in comm.alltoall(requests))
        ]
        received = comm.alltoall(replies)
        return {then: received[self.holders[then]][then] for then in pieces}


class Copies:
    """The last two copies of a training. All methods are collective, except `due`.

    every: steps between two copies; 0: as often as 2 % of the time allow.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self._copies: dict[int, Copy] = {}
        self._number = 0
        self._step, self._trained_ns = 0, 0
        self.cost_ns = 0
        """Time of the fastest copy on this rank, ns; the first one takes several times as long."""
        self.spent_ns = self.count = 0
        """Time of all copies on this rank, and their number."""

    def due(self, step: int, trained_ns: int, cost_ns: int) -> bool:
        """Return whether a copy is due at a step.

        trained_ns: time of the steps since the last call. cost_ns: least `cost_ns` of all ranks,
        that of a rank that waited for no other. The arguments, and so the answer, are the same on
        every rank.
        """
        self._trained_ns += trained_ns
        if self.every:
            return step // self.every > self._step // self.every
        return self._trained_ns >= max(LEAST_PAUSE_NS, SHARE * cost_ns)

    def take(self, comm: MPI.Intracomm, values: Arrays, manifest: Manifest) -> None:
        """Store a copy of this rank's part, (n, ...) arrays by path, at its buddy as well."""
        began = time.perf_counter_ns()
        newest = max(self._copies, default=0)  # complete: all ranks have met since
        self._copies = {n: copy for n, copy in self._copies.items() if n == newest}
        self._number += 1
        self._step, self._trained_ns = manifest.step, 0
        parts: dict[int, Arrays] = {comm.rank: values}
        if comm.size > 1:
            before = (comm.rank - 1) % comm.size
            parts[before] = _passed(comm, values, before, (comm.rank + 1) % comm.size)
        self._copies[self._number] = Copy(manifest, parts)
        cost_ns = time.perf_counter_ns() - began
        self.cost_ns = min(self.cost_ns or cost_ns, cost_ns)
        self.spent_ns, self.count = self.spent_ns + cost_ns, self.count + 1

    def newest(self, comm: MPI.Intracomm) -> Copy | None:
        """Return the newest copy with a holder for every part, and forget the others.

        comm: the ranks that are left. None without such a copy.
        """
        holdings = comm.allgather({n: list(copy.parts) for n, copy in self._copies.items()})
        numbers = {n: owner for owner, some in reversed(list(enumerate(holdings))) for n in some}
        for n, owner in sorted(numbers.items(), reverse=True):
            copy = self._copies.get(n)
            manifest = comm.bcast(copy.manifest if comm.rank == owner and copy else None, owner)
            holders = {
                then: rank
                for rank, some in reversed(list(enumerate(holdings)))
                for then in some.get(n, ())
            }
            if len(holders) == manifest.ranks:
                chosen = Copy(manifest, copy.parts if copy else {}, holders)
                self._copies, self._number = {n: chosen}, n
                return chosen
        self._copies = {}
        return None


def _passed(comm: MPI.Intracomm, values: Arrays, source: int, target: int) -> Arrays:
    """Send arrays to a rank and return those received from another one; collective."""
    shapes = {path: (x.shape, x.dtype) for path, x in values.items()}
    theirs = comm.sendrecv(shapes, target, TAG, None, source, TAG)
    received = {path: np.empty(shape, dtype) for path, (shape, dtype) in theirs.items()}
    requests = []
    for make, peer, arrays in ((comm.Irecv, source, received), (comm.Isend, target, values)):
        for x in arrays.values():
            content = x.reshape(-1).view(np.uint8) if prod(x.shape) else x
            cuts = range(0, x.nbytes, MOST_BYTES)
            requests += [make(content[a : a + MOST_BYTES], peer, TAG) for a in cuts]
    wait(requests)
    return received
