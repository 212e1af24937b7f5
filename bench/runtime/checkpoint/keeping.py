"""When a training is kept, what of it, and how it is put back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from algorithms.exchange.mpi import MPIExchange
from bench.runtime.checkpoint.saving import forget, restore, save
from bench.runtime.checkpoint.store import About
from bench.runtime.recording import Recording
from bench.runtime.setup import Plan
from bench.runtime.workers import TrainingWorkers

if TYPE_CHECKING:
    from mpi4py import MPI


@dataclass
class Counters:
    """By what the next draws are made."""

    turn: int
    """Rounds of the exchange."""
    drawn: int
    """Minibatches that every worker of this rank has had."""


def roots(exchange: MPIExchange, workers: TrainingWorkers, state: Any) -> dict[str, Any]:
    """What of a training is kept; state: of its algorithm."""
    return {
        "x": workers.x,
        "losses": workers.losses,
        "optimizer": workers.optimizer_state,
        "algorithm": state,
        "counters": Counters(exchange.turn, workers.drawn),
    }


def put_back(
    comm: MPI.Intracomm,
    checkpoint: Path,
    about: About,
    exchange: MPIExchange,
    workers: TrainingWorkers,
    state: Any,
) -> None:
    """Bring a training at its start to where a checkpoint is; collective."""
    kept = roots(exchange, workers, state)
    restore(comm, checkpoint, about, kept, workers.total)
    exchange.turn, workers.drawn = kept["counters"].turn, kept["counters"].drawn


class Keeper:
    """The checkpoints of one run. Collective to build, where it goes on, and to keep.

    state: of the algorithm, as `init` gave it. uuid: of the run.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        plan: Plan,
        exchange: MPIExchange,
        workers: TrainingWorkers,
        state: Any,
        uuid: str,
    ) -> None:
        self._comm, self._plan, self._uuid = comm, plan, uuid
        self._exchange, self._workers, self._state = exchange, workers, state
        self.step = self.elapsed_ns = 0
        """Of the last checkpoint; where the run begins, 0."""
        if plan.resumed:
            about = plan.resumed.about
            put_back(comm, plan.resumed.checkpoint, about, exchange, workers, state)
            self.step, self.elapsed_ns = about.step, about.elapsed_ns

    def due(self, step: int) -> bool:
        """Whether --checkpoint-every wants one after so many steps."""
        every = self._plan.experiment.options.checkpoint_every
        return bool(every) and step // every > self.step // every

    def keep(self, step: int, elapsed_ns: int, recording: Recording) -> Path:
        """Write a checkpoint; return its place."""
        said = {
            "step": step,
            "elapsed_ns": elapsed_ns,
            "workers": self._workers.total,
            "hash": self._plan.experiment.hash,
            "params": self._plan.experiment.params,
            "run_uuid": self._uuid,
        }
        kept = roots(self._exchange, self._workers, self._state)
        rows = recording.kept()
        self._comm.Barrier()  # what a checkpoint counts on is on disk, whoever writes it
        self.step, self.elapsed_ns = step, elapsed_ns
        return save(self._comm, self._plan.path, kept, rows, said)

    def forget(self) -> None:
        """Remove them: the run has ended."""
        if self._comm.rank == 0:
            forget(self._plan.path)
