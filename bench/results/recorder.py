"""Recorder of the steps of a training run in memory, between two writes of its file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from algorithms.wire.meter import Meter
from bench.results.schema import NOT_TAKEN

if TYPE_CHECKING:
    from mpi4py import MPI


@dataclass(frozen=True)
class Block:
    """Block of n consecutive steps of R ranks; missing steps of a rank are empty rows.

    Ranks take different numbers of steps only if the algorithm is asynchronous.
    """

    start_ns: NDArray[np.int64]
    """(n, R) start of each step on the rank's own clock, ns; NOT_TAKEN for a missing step."""
    phase_ns: NDArray[np.int64]
    """(n, R, phases) duration of each phase, ns."""
    bytes_sent: NDArray[np.int64]
    """(n, R) bytes handed to MPI."""
    bytes_copied: NDArray[np.int64]
    """(n, R) bytes read from other workers through memory."""
    messages: NDArray[np.int64]
    """(n, R) messages handed to MPI."""
    loss: NDArray[np.float64]
    """(n, R) mean minibatch loss of the rank's workers."""


class Recorder:
    """Recorder of the meter's counters; a step appends one tuple and computes nothing."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._before = self._counters()
        self._counts: list[tuple[int, ...]] = []
        self._losses: list[NDArray[np.floating]] = []

    def begin(self) -> None:
        """Discard the meter's counts since the last step."""
        self._before = self._counters()

    def step(self, start_ns: int, losses: NDArray[np.floating]) -> None:
        """Record a step that began at start_ns and has just ended.

        losses: (V,) minibatch loss of each worker; the recorder keeps a reference to it.
        """
        self._counts.append((start_ns, *self._counters()))
        self._losses.append(losses)

    @property
    def step_count(self) -> int:
        """Number of steps recorded since the last gather."""
        return len(self._counts)

    def losses(self) -> NDArray[np.floating]:
        """Return the losses of the workers since the last gather, (steps, V)."""
        return np.array(self._losses)

    def gather(self, comm: MPI.Intracomm) -> Block | None:
        """Gather the steps of all ranks since the last gather on rank 0; collective."""
        n = len(self._counts)
        rows = max(comm.allgather(n))
        counts = np.zeros((rows, 1 + len(self._before)), np.int64)
        losses = np.full(rows, np.nan)
        if n:
            counts[:n] = self._counts
            before = np.array([self._before], np.int64)
            counts[:n, 1:] = np.diff(np.concatenate([before, counts[:n, 1:]]), axis=0)
            losses[:n] = [row.mean(dtype=np.float64) for row in self._losses]
        counts[n:, 0] = NOT_TAKEN
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
        return Block(start, phases, sent, copied, messages, all_losses.T)

    def _counters(self) -> tuple[int, ...]:
        meter = self._meter
        return (meter.messages, meter.bytes_sent, meter.bytes_copied, *meter.ns)
