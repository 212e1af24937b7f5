"""Checkpoints of one run: their cadence, their content, and its restoration."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from algorithms.exchange.mpi import MPIExchange
from algorithms.wire.waiting import meet
from bench.runtime.checkpoint.copies import Copies, Copy
from bench.runtime.checkpoint.saving import manifest_of, remove, restore, save, snapshot
from bench.runtime.checkpoint.state import at_once
from bench.runtime.checkpoint.store import Manifest
from bench.runtime.membership import Epoch
from bench.runtime.recording import Recording
from bench.runtime.setup import Plan
from bench.runtime.workers import TrainingWorkers

if TYPE_CHECKING:
    from mpi4py import MPI


@dataclass
class Counters:
    """Counters that seed the next random draws."""

    turn: int
    """Rounds of the exchange so far."""
    drawn: int
    """Minibatches that every worker of this rank has drawn."""


def roots(
    exchange: MPIExchange,
    workers: TrainingWorkers,
    state: Any,
    control: Any = (),
) -> dict[str, Any]:
    """Return the objects of a training that a checkpoint holds.

    state: State of the algorithm. control: progress of the controller, if any.
    """
    clock = {"clock": exchange.clock.state} if exchange.clock else {}
    versions = workers.delays.versions() if workers.delays else []
    pipelines = {"versions": versions} if versions else {}
    return {
        **clock,
        **pipelines,
        "x": workers.x,
        "losses": workers.losses,
        "optimizer": workers.optimizer_state,
        "algorithm": state,
        "counters": Counters(exchange.rounds_started, workers.drawn),
        "control": control,
    }


def restore_training(
    comm: MPI.Intracomm,
    checkpoint: Path | Copy,
    manifest: Manifest,
    exchange: MPIExchange,
    workers: TrainingWorkers,
    state: Any,
    control: Any = (),
) -> None:
    """Restore a training that has not begun from a checkpoint; collective."""
    arrive = at_once
    if clock := exchange.clock:
        flights = sum(path.startswith("clock/arrivals/") for path in manifest.lengths)
        clock.state.arrivals[:] = [np.zeros(workers.total) for _ in range(flights)]
        arrive = clock.arrive
    objects = roots(exchange, workers, state, control)
    restore(comm, checkpoint, manifest, objects, workers.total, arrive, workers.cell)
    counters = objects["counters"]
    exchange.rounds_started, workers.drawn = counters.turn, counters.drawn
    if workers.delays:
        workers.delays.restore(manifest.step, objects.get("versions", []))


class Checkpoints:
    """The checkpoints of one run.

    Construction restores the training if the run resumes. Construction and `save` are collective.
    epoch: with the State of the algorithm from its `init`. uuid: run_uuid of the run. control:
    progress of the controller, if any.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        plan: Plan,
        epoch: Epoch,
        uuid: str,
        control: Any = (),
    ) -> None:
        self._comm, self._plan, self._uuid, self._control = comm, plan, uuid, control
        self._epoch = epoch
        self.step = self.elapsed_ns = 0
        """Step and training time of the last checkpoint; 0 where the run begins."""
        if plan.resumed:
            manifest = plan.resumed.manifest
            checkpoint = plan.resumed.checkpoint
            present = epoch.exchange, epoch.workers, epoch.state, control
            restore_training(comm, checkpoint, manifest, *present)
            self.step, self.elapsed_ns = manifest.step, manifest.elapsed_ns

    def due(self, step: int) -> bool:
        """Return whether --checkpoint-every asks for a checkpoint at a step."""
        every = self._plan.experiment.options.checkpoint_every
        return bool(every) and step // every > self.step // every

    def save(self, step: int, elapsed_ns: int, recording: Recording) -> Path:
        """Write a checkpoint; return its folder; collective."""
        objects, entries = self._roots(), self._entries(step, elapsed_ns)
        rows = recording.table_lengths()
        meet(self._comm)  # every file with tables that the checkpoint counts on is on disk
        self.step, self.elapsed_ns = step, elapsed_ns
        clock = self._epoch.exchange.clock
        place = (self._comm, self._plan.path, objects, rows, entries)
        if clock is None:
            return save(*place, cell=self._epoch.workers.cell)
        with clock.without_waits():
            return save(*place, clock.arrive)

    def copy(self, copies: Copies, step: int, elapsed_ns: int, recording: Recording) -> None:
        """Take a copy in the memory of the ranks; collective."""
        clock = self._epoch.exchange.clock
        with clock.without_waits() if clock else nullcontext():
            part = snapshot(self._roots(), clock.arrive if clock else at_once)
        rows = recording.table_lengths()
        parts = self._comm.allgather(({}, part.lengths, part.numbers, rows))
        manifest = manifest_of(part, parts, self._entries(step, elapsed_ns))
        copies.take(self._comm, part.values, manifest)

    def _roots(self) -> dict[str, Any]:
        """Return the objects of the training."""
        epoch = self._epoch
        return roots(epoch.exchange, epoch.workers, epoch.state, self._control)

    def _entries(self, step: int, elapsed_ns: int) -> dict[str, Any]:
        """Return the fields of a Manifest that are the same on every rank."""
        experiment, placement = self._plan.experiment, self._epoch.placement
        return {
            "step": step,
            "elapsed_ns": elapsed_ns,
            "workers": self._epoch.workers.total,
            "members": placement.members if placement.absentees else [],
            "hash": experiment.hash,
            "params": experiment.params,
            "run_uuid": self._uuid,
            "launched": experiment.launched,
        }

    def remove(self) -> None:
        """Remove the checkpoints of a run that has ended."""
        if self._comm.rank == 0:
            remove(self._plan.path)
