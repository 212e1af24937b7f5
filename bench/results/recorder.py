"""The recorder: raw numbers of every step of one rank, gathered on rank 0 between timed steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from algorithms.wire.meter import PHASES, Meter
from bench.results.schema import NOT_TAKEN

if TYPE_CHECKING:
    from mpi4py import MPI


@dataclass(frozen=True)
class Block:
    """n consecutive steps of all R ranks; where a rank took fewer, its last rows are empty.

    Ranks take different numbers of steps only where the algorithm is asynchronous.
    """

    start_ns: NDArray[np.int64]
    """(n, R) on each rank's own clock; NOT_TAKEN where the rank took no such step."""
    phase_ns: NDArray[np.int64]
    """(n, R, len(PHASES))."""
    bytes_sent: NDArray[np.int64]
    """(n, R) handed to MPI."""
    bytes_copied: NDArray[np.int64]
    """(n, R) read from other workers through memory."""
    messages: NDArray[np.int64]
    """(n, R)."""
    loss: NDArray[np.float64]
    """(n, R) mean minibatch loss of the rank's workers."""


class Recorder:
    """Notes the meter after every step: a tuple appended, nothing computed."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._before = self._counters()
        self._counts: list[tuple[int, ...]] = []
        self._losses: list[NDArray[np.floating]] = []

    def begin(self) -> None:
        """Book to no step what the meter counted since the last one."""
        self._before = self._counters()

    def step(self, start_ns: int, losses: NDArray[np.floating]) -> None:
        """Note a step that began at start_ns and has just ended; losses, (V,), is kept."""
        self._counts.append((start_ns, *self._counters()))
        self._losses.append(losses)

    @property
    def taken(self) -> int:
        """Steps noted since the last gather."""
        return len(self._counts)

    def gather(self, comm: MPI.Intracomm) -> Block | None:
        """The steps since the last gather, of all ranks, on rank 0; collective."""
        taken = len(self._counts)
        rows = max(comm.allgather(taken))
        counts = np.zeros((rows, 1 + len(self._before)), np.int64)
        losses = np.full(rows, np.nan)
        if taken:
            counts[:taken] = self._counts
            before = np.array([self._before], np.int64)
            counts[:taken, 1:] = np.diff(np.concatenate([before, counts[:taken, 1:]]), axis=0)
            losses[:taken] = [row.mean(dtype=np.float64) for row in self._losses]
        counts[taken:, 0] = NOT_TAKEN
        self._counts, self._losses = [], []
        self.begin()
        all_counts = np.empty((comm.size, *counts.shape), np.int64) if comm.rank == 0 else None
        all_losses = np.empty((comm.size, *losses.shape)) if comm.rank == 0 else None
        comm.Gather(counts, all_counts)
        comm.Gather(losses, all_losses)
        if all_counts is None or all_losses is None:
            return None
        start, messages, sent, copied = all_counts.transpose(2, 1, 0)[:4]
        phases = all_counts[:, :, 4:].transpose(1, 0, 2)
        assert phases.shape[2] == len(PHASES)
        return Block(start, phases, sent, copied, messages, all_losses.T)

    def _counters(self) -> tuple[int, ...]:
        meter = self._meter
        return (meter.messages, meter.bytes_sent, meter.bytes_copied, *meter.ns)
