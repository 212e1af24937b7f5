"""Recording of a run: steps, evaluations and traces on their way into the result files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from algorithms.wire.meter import Meter, TracingMeter
from algorithms.wire.waiting import meet
from bench.results import events
from bench.results.clocks import append_clocks
from bench.results.decisions import Decided
from bench.results.epochs import Event
from bench.results.recorder import Block, Recorder
from bench.results.resultfile import Change, mark
from bench.results.runfile import RunFile
from bench.results.schema import FAILED, PREEMPTED
from bench.results.summary import add_summary, final_summary
from bench.runtime.options import TrainOptions
from bench.runtime.survival import Survival
from bench.runtime.trackers import Tracker
from bench.runtime.writers import Group
from bench.session.clocks import read_clocks

if TYPE_CHECKING:
    from mpi4py import MPI


class Recording:
    """Recorder of a run. All methods are collective, except `step`.

    file: the file of the group on the rank that writes it, None on the others. The file of rank 0
    also holds everything that is not about steps. trackers: receive the evaluations on rank 0.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        options: TrainOptions,
        meter: Meter,
        group: Group,
        file: RunFile | None,
        hosts: list[str],
        trackers: Sequence[Tracker] = (),
        survival: Survival | None = None,
    ) -> None:
        self._comm, self._group, self._hosts, self._file = comm, group, hosts, file
        self._trackers, self._survival = trackers, survival
        self._main = file if comm.rank == 0 else None
        self._warmup, self._trace = options.warmup, options.trace
        self._meter, self._recorder = meter, Recorder(meter)
        self.step = self._recorder.step

    def begin(self, first: int) -> None:
        """Begin a segment of steps; first: the number of its first step."""
        if isinstance(self._meter, TracingMeter):
            self._meter.tracing = 0 <= first - self._warmup < self._trace
        self._recorder.begin()

    def gather(self, first: int) -> None:
        """Write the steps since `begin`; first: the number of the first one."""
        block = self._recorder.gather(self._group.comm)
        if self._file and block:
            columns = dealt(block, self._survival.slots) if self._survival else block
            self._file.append(columns, first, self._warmup)
        if isinstance(self._meter, TracingMeter) and self._meter.tracing:
            self._meter.tracing = False
            packed = events.pack(self._meter.take(), self._comm.rank)
            traced = self._group.comm.gather(packed)
            if self._file and traced:
                self._file.trace(traced)

    def add_evaluation(self, row: Mapping[str, float]) -> None:
        """Write an evaluation: a value for every name of schema.EVAL, on rank 0."""
        if self._main:
            self._main.evaluate(row)
            for tracker in self._trackers:
                tracker.add(row)

    def add_deaths(self) -> None:
        """Record the deaths of ranks and the homes of workers, on rank 0."""
        if self._main and self._survival and self._survival.deaths:
            self._main.lose(self._survival.deaths, self._survival.homes)

    def add_decision(self, decision: Decided) -> None:
        """Write a decision of the controller and its segment, on rank 0."""
        if self._main:
            self._main.decide(decision)

    def add_member(self, event: Event) -> None:
        """Write a death or a return of a worker, on rank 0."""
        if self._main:
            self._main.member(event)

    def losses(self) -> NDArray[np.floating]:
        """Return the minibatch losses of the steps since `begin`, (steps, V)."""
        return self._recorder.losses()

    def flush(self, *, due: bool) -> None:
        """Write the files to disk after a pause, see RunFile; due: --flush-every asks for it."""
        if self._file:
            self._file.flush(due=due)

    @property
    def steps(self) -> int:
        """Steps of this rank since `begin`."""
        return self._recorder.step_count

    def table_lengths(self) -> dict[str, int]:
        """Write the files to disk; return the table lengths of this rank's file, if any."""
        return self._file.lengths() if self._file else {}

    def mark(self) -> None:
        """Record that the run was stopped, in case it ends before it can record more."""
        if self._main:
            with suppress(Exception):
                mark(self._main.path, FAILED, "stopped by SIGTERM")

    def suspend(self, reason: str) -> None:
        """Record in the files that the run waits to be resumed, with the reason."""
        if self._file:
            self._file.suspend(PREEMPTED, reason)

    def close(self, status: str, attributes: dict[str, Any], last: Change) -> None:
        """Close all files, that of rank 0 last; `last` adds the final tables to it."""
        clocks = read_clocks(self._comm, self._hosts)
        if self._survival:
            clocks = self._survival.dealt(clocks)
            attributes = attributes | self._survival.cost()
        if self._file and not self._main:
            self._file.close(status, {})
        meet(self._comm)
        if not self._main:
            return
        summary: dict[str, float] = {}
        if self._group.groups == 1:
            self._main.flush(now=True)
            summary = final_summary(self._main.part, {**attributes, "status": status})

        def finish(file: Any) -> None:
            last(file)
            append_clocks(file, vars(clocks))
            if summary:
                add_summary(file, summary)

        self._main.close(status, attributes, finish)


def dealt(block: Block, slots: Sequence[int]) -> Block:
    """Return the block by rank of the launch; slots: present rank for each of them.

    Bytes and messages of a present rank count at its first slot, and are 0 elsewhere.
    """
    columns = {name: values[:, slots] for name, values in vars(block).items()}
    for name in ("bytes_sent", "bytes_copied", "messages"):
        columns[name] *= [slots.index(k) == i for i, k in enumerate(slots)]
    return Block(**columns)
