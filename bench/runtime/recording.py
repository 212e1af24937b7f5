"""What a run tells its files, and when."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from algorithms.wire.meter import Meter, TracingMeter
from bench.results import clockfile, events
from bench.results.recorder import Recorder
from bench.results.resultfile import Change, mark
from bench.results.runfile import RunFile
from bench.results.schema import FAILED, PREEMPTED
from bench.results.summary import add, summarised
from bench.runtime.options import TrainOptions
from bench.runtime.writers import Group
from bench.session.clocks import read_clocks

if TYPE_CHECKING:
    from mpi4py import MPI


class Recording:
    """The steps of a run on their way into files; collective to call, but for `step`.

    file: of the group on the rank that writes it, None on the others. Rank 0's also has what is
    not about steps.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        options: TrainOptions,
        meter: Meter,
        group: Group,
        file: RunFile | None,
        hosts: list[str],
    ) -> None:
        self._comm, self._group, self._hosts, self._file = comm, group, hosts, file
        self._main = file if comm.rank == 0 else None
        self._warmup, self._trace = options.warmup, options.trace
        self._meter, self._recorder = meter, Recorder(meter)
        self.step = self._recorder.step

    def begin(self, first: int) -> None:
        """Steps are about to be taken, the first of which has this number."""
        if isinstance(self._meter, TracingMeter):
            self._meter.tracing = 0 <= first - self._warmup < self._trace
        self._recorder.begin()

    def gather(self, first: int) -> None:
        """Hand over the steps since `begin`, the first of which has this number."""
        block = self._recorder.gather(self._group.comm)
        if self._file and block:
            self._file.append(block, first, self._warmup)
        if isinstance(self._meter, TracingMeter) and self._meter.tracing:
            self._meter.tracing = False
            mine = events.packed(self._meter.take(), self._comm.rank)
            traced = self._group.comm.gather(mine)
            if self._file and traced:
                self._file.trace(traced)

    def evaluated(self, row: Mapping[str, float]) -> None:
        """Hand over an evaluation: a value for every name of schema.EVAL, on rank 0."""
        if self._main:
            self._main.evaluate(row)

    def flush(self) -> None:
        """Have the files written, unless they just were."""
        if self._file:
            self._file.flush()

    @property
    def taken(self) -> int:
        """Steps of this rank since `begin`."""
        return self._recorder.taken

    def kept(self) -> dict[str, int]:
        """Have the files written now; how long the tables are of the one of this rank, if any."""
        return self._file.lengths() if self._file else {}

    def mark(self) -> None:
        """Say in the file that the run was stopped, should it not come to say more."""
        if self._main:
            with suppress(Exception):
                mark(self._main.path, FAILED, "stopped by SIGTERM")

    def suspend(self, reason: str) -> None:
        """Say in the files that the run waits to go on, and why."""
        if self._file:
            self._file.suspend(PREEMPTED, reason)

    def close(self, status: str, attributes: Mapping[str, Any], last: Change) -> None:
        """Close all files, rank 0's after the others; `last` adds to it what only the end knows."""
        clocks = read_clocks(self._comm, self._hosts)
        if self._file and not self._main:
            self._file.close(status, {})
        self._comm.Barrier()
        if not self._main:
            return
        summary: dict[str, float] = {}
        if self._group.groups == 1:
            self._main.flush(now=True)
            summary = summarised(self._main.part, {**attributes, "status": status})

        def finish(file: Any) -> None:
            last(file)
            clockfile.append(file, vars(clocks))
            if summary:
                add(file, summary)

        self._main.close(status, attributes, finish)
